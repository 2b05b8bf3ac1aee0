"""Root-mean-square normalisation equals its equation, at the precision of what it is given."""

import reference
import torch
from cores import stir

from loopverse.nn import RMSNorm


def test_rms_norm_equals_its_equation() -> None:
    norm, x = stir(RMSNorm(8)), torch.randn(2, 3, 8)
    torch.testing.assert_close(norm(x), reference.rms(x, norm.weight))


def test_the_mean_of_bfloat16_values_is_taken_in_float32() -> None:
    norm = RMSNorm(512)
    x = torch.randn(4, 512).bfloat16()
    expected = reference.rms(x.float(), norm.weight).bfloat16()
    assert norm(x).dtype == torch.bfloat16
    assert torch.equal(norm(x), expected)


def test_float64_stays_float64() -> None:
    norm, x = stir(RMSNorm(8).double()), torch.randn(3, 8, dtype=torch.float64)
    torch.testing.assert_close(norm(x), reference.rms(x, norm.weight), atol=1e-14, rtol=1e-14)


def test_zeros_stay_zeros() -> None:
    assert torch.equal(RMSNorm(4)(torch.zeros(2, 4)), torch.zeros(2, 4))

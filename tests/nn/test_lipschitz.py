"""Rescaled matrices and projections have the constants that they claim, and derivatives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor

from loopverse.nn.lipschitz import hold, nonexpanding, spectral_bounds


def norm(weight: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.double(), 2))


@st.composite
def matrices(draw: st.DrawFn) -> Tensor:
    """Of any shape, rank and size, in float32."""
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rank = draw(st.integers(1, min(rows, columns)))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    left, right = (torch.randn(n, rank, generator=rng) for n in (rows, columns))
    if draw(st.booleans()):  # all singular values alike, where the bound is worst
        left, right = torch.linalg.qr(left)[0], torch.linalg.qr(right)[0]
    return left @ right.T * 10.0 ** draw(st.integers(-4, 15))


@examples(80)
@given(weight=matrices())
def test_a_rescaled_matrix_stretches_nothing_and_nearly_keeps_something(weight: Tensor) -> None:
    (found,) = nonexpanding([weight])
    assert norm(found) <= 1 + 1e-6
    assert norm(found) >= min(weight.shape) ** (-1 / 128) - 1e-5
    size = weight.abs().amax()
    ratio = norm(weight / size) / norm(found)
    torch.testing.assert_close(found * ratio, weight / size, atol=1e-5, rtol=1e-4)


def test_the_bound_is_exact_for_one_direction_and_at_most_four_percent_off_for_128() -> None:
    one = torch.outer(torch.randn(128), torch.randn(128)).double()
    all_alike = torch.linalg.qr(torch.randn(128, 128).double())[0]
    found = [float(bound) for bound in spectral_bounds([one, all_alike])]
    assert found[0] == pytest.approx(norm(one), rel=1e-12)
    assert found[1] == pytest.approx(128 ** (1 / 128), rel=1e-12)


def test_matrices_are_rescaled_together_as_alone_and_differentiably() -> None:
    some = [torch.randn(shape).double() for shape in ((5, 7), (7, 5), (5, 5), (3, 8))]
    for found, weight in zip(nonexpanding(some), some, strict=True):
        torch.testing.assert_close(found, nonexpanding([weight])[0])
    inputs = [weight.requires_grad_() for weight in some]
    assert torch.autograd.gradcheck(lambda *weights: tuple(nonexpanding(weights)), inputs)


def test_a_matrix_of_zeros_stays_one_and_has_a_finite_gradient() -> None:
    weight = torch.zeros(4, 6, requires_grad=True)
    (found,) = nonexpanding([weight])
    found.sum().backward()
    assert not found.any()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


@examples(40)
@given(seed=st.integers(0, 999), radius=st.floats(0.1, 10), size=st.floats(0.01, 100))
def test_what_is_held_is_the_nearest_point_of_the_ball_and_no_further_apart(
    seed: int, radius: float, size: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    x, other = size * torch.randn(2, 9, 6, generator=rng, dtype=torch.float64)
    held = hold(x, radius)
    lengths = x.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(held, torch.where(lengths <= radius, x, radius * x / lengths))
    apart = (held - hold(other, radius)).norm(dim=-1)
    assert (apart <= (x - other).norm(dim=-1) * (1 + 1e-12)).all()


def test_what_is_held_at_the_origin_keeps_its_gradient() -> None:
    x = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: hold(x, 0.5), x)
    assert torch.autograd.gradcheck(lambda x: hold(x + 1, 0.5), x)

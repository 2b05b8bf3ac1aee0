"""The measured contraction of a loop is that of its Jacobian; a loop that expands is found out."""

from collections.abc import Callable

import pytest
import torch
from depth.maps import Contraction, inputs
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor
from torch.nn import functional as F

from loopverse.depth import largest_gain, measured_quotient

Map = Callable[[Tensor], Tensor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def singular_values(step: Map, z: Tensor) -> Tensor:
    """Of the dense Jacobian of each row, `[b t*d]`."""
    jacobian = torch.stack(list(torch.autograd.functional.jacobian(step, z)))  # [b t d b t d]
    rows = [jacobian[b, :, :, b].flatten(2).flatten(0, 1) for b in range(len(z))]
    return torch.stack([torch.linalg.svdvals(row) for row in rows])


def mixing(z: Tensor) -> Tensor:
    """Tokens that read each other, every one through a matrix of its own."""
    size = z[0].numel()
    weight = torch.randn(size, size, generator=generator(), dtype=z.dtype) / size**0.5
    return torch.sin(z.flatten(1) @ weight.T).view_as(z)


def attending(z: Tensor) -> Tensor:
    """Attention, whose fused form has a backward pass without a derivative."""
    heads = z.unflatten(2, (2, -1)).transpose(1, 2)
    read = F.scaled_dot_product_attention(3 * heads, heads, heads)
    return read.transpose(1, 2).flatten(2)


def pointwise(z: Tensor) -> Tensor:
    """Each position by itself."""
    return Contraction(bound=0.5).on(0 * z)(z, 0, None)


MAPS = [mixing, attending, pointwise, lambda z: 1e-4 * mixing(z)]
NAMES = ["mixing", "attending", "pointwise", "faint"]


@pytest.mark.parametrize("step", MAPS, ids=NAMES)
def test_the_largest_gain_is_the_largest_singular_value_of_the_jacobian(step: Map) -> None:
    z = inputs()
    exact = singular_values(step, z)[:, 0]
    found = largest_gain(step, z, iterations=600, rng=generator())
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)


@examples(20)
@given(iterations=st.integers(1, 30), seed=st.integers(0, 99))
def test_an_estimate_rises_and_never_exceeds_the_largest_singular_value(
    iterations: int, seed: int
) -> None:
    z = inputs()
    exact = singular_values(mixing, z)[:, 0]
    fewer, more = (
        largest_gain(mixing, z, iterations=n, rng=generator(seed))
        for n in (iterations, iterations + 5)
    )
    assert (fewer <= more * (1 + 1e-12)).all()
    assert (more <= exact * (1 + 1e-12)).all()


def test_a_planted_expansion_is_found_in_the_row_and_direction_where_it_is() -> None:
    """It stretches one channel of one token of one row, and everything else contracts."""
    scale = torch.full((3, 4, 6), 0.5, dtype=torch.float64)
    scale[1, 2, 3] = 1.25
    found = largest_gain(lambda z: scale * z, inputs(), iterations=60, rng=generator())
    torch.testing.assert_close(found, torch.tensor([0.5, 1.25, 0.5]).double())


def test_a_contraction_measures_below_its_constant_from_everywhere() -> None:
    """`0.5 tanh(W z + e)` with a matrix of spectral norm one."""
    loop = Contraction(bound=0.5).on(inputs())
    for size in (0.01, 1.0, 10.0):
        z = size * inputs(seed=1)
        gain = largest_gain(lambda z: loop(z, 0, None), z, rng=generator())
        quotient = measured_quotient(lambda z: loop(z, 0, None), z, size * inputs(seed=2))
        assert (gain <= 0.5).all()
        assert (quotient <= 0.5).all()
        assert (quotient > 0).all()


def test_rows_are_measured_as_if_alone() -> None:
    z, other = inputs(), inputs(seed=1)
    together = largest_gain(attending, z, iterations=300, rng=generator())
    moved = measured_quotient(attending, z, other)
    for b in range(len(z)):
        row = slice(b, b + 1)
        alone = largest_gain(attending, z[row], iterations=300, rng=generator())
        torch.testing.assert_close(together[row], alone, rtol=1e-6, atol=0)
        torch.testing.assert_close(moved[row], measured_quotient(attending, z[row], other[row]))


def test_the_quotient_between_close_states_is_at_most_the_gain_between_them() -> None:
    """Along the first singular vector it is the gain."""
    z = inputs()[:1]
    jacobian = torch.autograd.functional.jacobian(mixing, z).view(24, 24)
    _, values, directions = torch.linalg.svd(jacobian)
    along = z + 1e-6 * directions[0].view_as(z)
    anywhere = z + 1e-6 * inputs(1, seed=3)
    torch.testing.assert_close(measured_quotient(mixing, z, along), values[:1], rtol=1e-4, atol=0)
    assert (measured_quotient(mixing, z, anywhere) < values[0]).all()


def test_what_moves_nothing_has_no_gain() -> None:
    z = inputs()
    for step in (torch.zeros_like, lambda z: 0 * z, lambda z: z.detach() + 1):
        assert torch.equal(largest_gain(step, z, rng=generator()), torch.zeros(3).double())
    assert torch.equal(measured_quotient(mixing, z, z), torch.zeros(3).double())


def test_measuring_leaves_no_gradients_and_needs_none_to_be_recorded() -> None:
    contraction = Contraction()
    loop = contraction.on(inputs())
    with torch.no_grad():
        found = largest_gain(lambda z: loop(z, 0, None), inputs(seed=1), rng=generator())
    assert not found.requires_grad
    assert contraction.weight.grad is None


def test_half_precision_is_measured_in_its_own_arithmetic() -> None:
    z = inputs()
    exact = singular_values(pointwise, z)[:, 0]
    half = Contraction(bound=0.5).bfloat16()
    found = largest_gain(
        lambda z: half.on(0 * z)(z, 0, None), z.bfloat16(), iterations=60, rng=generator()
    )
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact.float(), rtol=0.05, atol=0)


@pytest.mark.parametrize(
    ("step", "iterations", "message"),
    [
        (mixing, 0, "iterations must be at least 1, got 0"),
        (lambda z: z[..., :2], 5, r"step must keep the shape \[3, 4, 6\], got \[3, 4, 2\]"),
    ],
    ids=["iterations", "shape"],
)
def test_what_cannot_be_measured_is_refused(step: Map, iterations: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        largest_gain(step, inputs(), iterations=iterations, rng=generator())

"""Rotary positions turn channel pairs by their angle, so that only distances matter."""

import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from loopverse.nn import rotary_angles, rotate


def turned(x: torch.Tensor, position: int, base: float = 10_000.0) -> torch.Tensor:
    cos, sin = rotary_angles(torch.tensor([[position]]), len(x), base)
    return rotate(x[None, None, None], cos, sin)[0, 0, 0]


@examples(30)
@given(position=st.integers(0, 2000), base=st.sampled_from([100.0, 10_000.0, 50_000.0]))
def test_a_rotation_equals_a_product_of_complex_numbers(position: int, base: float) -> None:
    x = torch.randn(8)
    expected = reference.turn(x, position, base)
    torch.testing.assert_close(turned(x, position, base), expected, atol=1e-3, rtol=1e-3)


@examples(30)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 200))
def test_the_product_of_two_heads_depends_on_their_distance_only(
    query: int, key: int, shift: int
) -> None:
    q, k = torch.randn(2, 16)
    here = turned(q, query) @ turned(k, key)
    there = turned(q, query + shift) @ turned(k, key + shift)
    torch.testing.assert_close(here, there, atol=1e-3, rtol=1e-3)


def test_position_zero_changes_nothing_and_no_position_changes_the_length() -> None:
    x = torch.randn(8)
    assert torch.equal(turned(x, 0), x)
    torch.testing.assert_close(turned(x, 37).norm(), x.norm())


def test_every_row_may_have_positions_of_its_own() -> None:
    positions = torch.tensor([[0, 1, 2], [5, 9, 2]])
    cos, sin = rotary_angles(positions, 8, 10_000.0)
    x = torch.randn(2, 3, 3, 8)
    ours = rotate(x, cos, sin)
    for row in range(2):
        alone = rotate(x[row : row + 1], *rotary_angles(positions[row : row + 1], 8, 10_000.0))
        assert torch.equal(ours[row : row + 1], alone)

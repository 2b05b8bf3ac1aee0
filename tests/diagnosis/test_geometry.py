"""Sizes, angles, ranks and trajectories of linear maps, whose answers are known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from loopverse.depth import effective_rank, step_size, turn
from loopverse.diagnosis.geometry import period, trajectories
from loopverse.diagnosis.settling import Settling, begin_elsewhere, look
from loopverse.nn import Attend, CoreInput
from loopverse.training.probe import Call


def rotation(angle: float, scale: float = 1.0) -> Tensor:
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return torch.tensor([[cos, -sin], [sin, cos]])


def orbit_of(matrix: Tensor, z: Tensor, loops: int) -> list[Tensor]:
    return [z @ torch.linalg.matrix_power(matrix, n).T for n in range(loops)]


@given(factor=st.floats(0.1, 3.0).filter(lambda f: abs(f - 1) > 0.01))
def test_a_step_along_a_line(factor: float) -> None:
    z = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert step_size(z, factor * z).tolist() == pytest.approx([abs(1 - 1 / factor)] * 3, rel=0.01)


@given(angle=st.floats(0.1, 3.0))
def test_a_rotation_turns_by_its_angle(angle: float) -> None:
    a, b, c = orbit_of(rotation(angle), torch.tensor([[1.0, 0.5]]), 3)
    assert float(turn(c - b, b - a)) == pytest.approx(math.cos(angle), abs=0.01)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_the_rank_is_that_of_known_singular_values(counts: list[int]) -> None:
    """So many units in each of some directions at right angles."""
    size = len(counts)
    units = torch.eye(size).repeat_interleave(torch.tensor(counts), 0)
    turned, _ = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(0)))
    singular = torch.tensor(counts).sqrt()
    shares = singular / singular.sum()
    expected = float(torch.special.entr(shares).sum().exp())
    assert effective_rank(units @ turned) == pytest.approx(expected, rel=0.01)


def test_large_states_count_no_more_than_small_ones() -> None:
    rng = torch.Generator().manual_seed(0)
    states, sizes = torch.randn(12, 6, generator=rng), 10 * torch.rand(12, 1, generator=rng) + 0.1
    assert effective_rank(sizes * states) == pytest.approx(effective_rank(states), rel=1e-4)


def test_states_that_are_all_alike_have_rank_one() -> None:
    assert effective_rank(torch.randn(1, 8).repeat(20, 1)) == pytest.approx(1.0, rel=0.01)


def test_an_orbit_of_three_is_told_with_its_period() -> None:
    states = orbit_of(rotation(2 * math.pi / 3), torch.randn(6, 2), 12)
    assert trajectories(states) == {"fixed point": 0.0, "orbit": 1.0, "drift": 0.0}
    assert period(states) == 3


def test_what_shrinks_to_a_point_has_a_fixed_point() -> None:
    point = torch.ones(6, 2)
    states = [point + 0.5**n * torch.ones(6, 2) for n in range(12)]
    assert trajectories(states)["fixed point"] == 1.0


def test_what_goes_on_and_on_drifts() -> None:
    states = [torch.ones(6, 2) * 1.1**n for n in range(12)]
    assert trajectories(states)["drift"] == 1.0


def test_what_is_not_finite_drifts() -> None:
    states = [torch.full((6, 2), math.nan)] * 12
    assert trajectories(states)["drift"] == 1.0


def call(z: Tensor) -> Call:
    return Call(CoreInput(z, Attend()), z, 2 * z, torch.ones(z.shape[:2], dtype=torch.bool))


def test_a_linear_loop_with_a_known_spectrum_is_recovered() -> None:
    spectrum = torch.tensor([0.9, 0.5, 0.2, 0.1])
    turned, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))
    matrix = turned @ torch.diag(spectrum) @ turned.T
    first = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2))
    found, here = Settling(), call(first)
    look(found, lambda z: z @ matrix.T + 1, here)
    begin_elsewhere(found, lambda z: z @ matrix.T + 1, here, 4, torch.Generator().manual_seed(0))
    assert found.gain_last == pytest.approx([0.9], rel=0.01)
    assert found.gain_first == pytest.approx([0.9], rel=0.01)
    after = here.last @ matrix.T + 1
    gap = ((after - here.last).norm(dim=-1) / after.norm(dim=-1)).mean()
    assert found.gap == pytest.approx([float(gap)], rel=0.01)
    assert found.kinds[0]["state"]["fixed point"] == 1.0
    assert found.gap_far[0] < 1e-3
    assert found.apart[0] > 10 * found.apart_far[0]  # one fixed point, wherever it began
    assert found.apart_far[0] < 0.01


def test_a_loop_with_two_fixed_points_is_told() -> None:
    """Each channel goes to plus or minus one, whichever is nearer."""
    z = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2))
    found = Settling()
    begin_elsewhere(
        found, lambda z: torch.tanh(3 * z), call(z), 4, torch.Generator().manual_seed(0)
    )
    assert found.apart_far[0] > 0.5


def test_the_orbit_of_a_loop_is_told_with_its_period() -> None:
    matrix = rotation(2 * math.pi / 3)
    found = Settling()
    look(found, lambda z: z @ matrix.T, call(torch.randn(2, 3, 2)))
    assert found.kinds[0]["state"]["orbit"] == 1.0
    assert found.period == [3]
    assert found.gain_last == pytest.approx([1.0], rel=0.01)

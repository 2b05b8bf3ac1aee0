"""Rules on the state and its steps: the signal each one reads, and the units it stops."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch

from loopverse.depth import FixedDepth, FixedPoint, SecondOrder


def settled(rule: FixedPoint, before: torch.Tensor, after: torch.Tensor, i: int = 5) -> list[bool]:
    _, stops = rule.update(rule.begin(before), before, after, i, None, None)
    return stops[0].tolist()


def test_a_fixed_depth_has_nothing_to_watch() -> None:
    assert not FixedDepth().adaptive
    assert not FixedDepth().learned
    assert FixedDepth().head(8) is None


def test_a_unit_has_settled_when_its_relative_change_is_below_the_tolerance() -> None:
    before = torch.tensor([[[3.0, 4.0], [3.0, 4.0], [0.0, 0.0]]])
    after = torch.tensor([[[3.0, 4.4], [3.0, 4.6], [0.0, 0.0]]])
    change = [0.4 / (9 + 4.4**2) ** 0.5, 0.6 / (9 + 4.6**2) ** 0.5]
    assert change[0] < 0.1 < change[1]
    assert settled(FixedPoint(0.1), before, after) == [True, False, True]


def test_the_largest_channel_counts_in_the_inf_norm() -> None:
    before, after = torch.zeros(1, 2, 8), torch.ones(1, 2, 8)
    before[0, 0], before[0, 1] = 1.0, 1.0
    before[0, 0, 0] -= 0.12  # one channel by much: 0.12 in inf, 0.04 in l2
    before[0, 1] -= 0.09  # all channels by little: 0.09 in both
    assert settled(FixedPoint(0.1, norm="inf"), before, after) == [False, True]
    assert settled(FixedPoint(0.08, norm="l2"), before, after) == [True, False]


def test_every_unit_gets_the_least_number_of_loops() -> None:
    z = torch.ones(1, 2, 4)
    assert settled(FixedPoint(min_loops=3), z, z, i=1) == [False, False]
    assert settled(FixedPoint(min_loops=3), z, z, i=2) == [True, True]


def test_the_mean_over_a_sequence_stops_all_of_it_or_none() -> None:
    before, after = torch.ones(2, 2, 1), torch.ones(2, 2, 1)
    after[0, 0], after[1, 0] = 1.1, 1.5
    _, stops = FixedPoint(0.1, per="sequence").update({}, before, after, 0, None, None)
    assert stops.tolist() == [[True, True], [False, False]]
    assert FixedPoint().per_unit
    assert not FixedPoint(per="sequence").per_unit


def test_only_a_rule_that_was_told_to_damps() -> None:
    assert FixedDepth().damping == FixedPoint().damping == 0
    assert FixedPoint(damping=0.5).damping == 0.5


def hits(rule: SecondOrder, positions: Sequence[float]) -> list[bool]:
    """What a unit of one channel is told after each step of a path."""
    path = [torch.tensor([[[float(position)]]]) for position in positions]
    memory, told = rule.begin(path[0]), []
    for i, (before, after) in enumerate(pairwise(path)):
        memory, stops = rule.update(memory, before, after, i, None, None)
        told.append(bool(stops))
    return told


def test_a_step_that_stays_the_same_twice_stops_a_unit() -> None:
    steady = SecondOrder(0.25, relative=False)
    assert hits(steady, [0, 1, 2, 3, 4]) == [False, False, True, True]
    # steps 1, 1.2, 2, 2.1, 2.2: changes 0.2, 0.8, 0.1, 0.1
    assert hits(steady, [0, 1, 2.2, 4.2, 6.3, 8.5]) == [False, False, False, False, True]
    assert hits(SecondOrder(0.25, relative=False, patience=1), [0, 1, 2]) == [False, True]


def test_a_first_step_has_none_to_be_like() -> None:
    assert hits(SecondOrder(0.25, relative=False, patience=1), [0, 0.1, 0.2]) == [False, True]


def test_the_change_of_the_step_is_relative_to_the_state() -> None:
    # steps 1, 2, 3: changes of 1, at states 103 and 106
    path = [100, 101, 103, 106]
    assert hits(SecondOrder(1 / 105, patience=1), path) == [False, False, True]
    assert hits(SecondOrder(1 / 102, patience=1), path) == [False, True, True]
    assert hits(SecondOrder(0.9, relative=False, patience=1), path) == [False, False, False]


def test_a_unit_that_jumps_to_and_fro_never_settles_to_second_order() -> None:
    assert not any(hits(SecondOrder(1.0), [1, 2, 1, 2, 1, 2]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FixedPoint(tolerance=0), "halting.tolerance must be above 0, got 0"),
        (lambda: FixedPoint(norm="l1"), 'halting.norm must be "l2" or "inf", got "l1"'),
        (lambda: FixedPoint(min_loops=0), "halting.min_loops must be at least 1, got 0"),
        (lambda: FixedPoint(per="row"), 'halting.per must be "unit" or "sequence", got "row"'),
        (lambda: FixedPoint(damping=1), r"halting.damping must be in \[0, 1\), got 1"),
        (lambda: FixedPoint(damping=-0.1), r"halting.damping must be in \[0, 1\), got -0.1"),
        (lambda: SecondOrder(0), "halting.tolerance must be above 0, got 0"),
        (lambda: SecondOrder(patience=0), "halting.patience must be at least 1, got 0"),
    ],
)
def test_impossible_rules_are_refused_by_name(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()

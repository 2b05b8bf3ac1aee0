"""Halting rules: the signal each one reads, and the units it stops."""

import pytest
import torch

from loopverse.depth import ExitGate, ExitHead, FixedDepth, FixedPoint


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


def test_exit_probabilities_accumulate_as_their_definition_says() -> None:
    """`p(i) = lambda_i prod_{j<i} (1 - lambda_j)`, summed the slow way."""
    torch.manual_seed(0)
    head, states = ExitHead(4), torch.randn(6, 2, 3, 4)
    rule = ExitGate(threshold=0.7)
    memory = rule.begin(states[0])
    for i, z in enumerate(states):
        memory, stops = rule.update(memory, z, z, i, None, head)
        gates = [torch.sigmoid(head(earlier)) for earlier in states[: i + 1]]
        total = torch.zeros(2, 3)
        for n, gate in enumerate(gates):
            reached = torch.ones(2, 3)
            for earlier in gates[:n]:
                reached = reached * (1 - earlier)
            total = total + gate * reached
        torch.testing.assert_close(1 - memory["going_on"], total)
        assert torch.equal(stops, total >= 0.7)


def test_the_gate_is_one_logit_per_unit() -> None:
    assert ExitGate().head(8)(torch.zeros(2, 3, 8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FixedPoint(tolerance=0), "halting.tolerance must be above 0, got 0"),
        (lambda: FixedPoint(norm="l1"), 'halting.norm must be "l2" or "inf", got "l1"'),
        (lambda: FixedPoint(min_loops=0), "halting.min_loops must be at least 1, got 0"),
        (lambda: ExitGate(threshold=0), r"halting.threshold must be in \(0, 1\], got 0"),
        (lambda: ExitGate(threshold=1.5), r"halting.threshold must be in \(0, 1\], got 1.5"),
    ],
)
def test_impossible_rules_are_refused_by_name(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()

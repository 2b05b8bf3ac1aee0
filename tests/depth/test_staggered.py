"""Units that are each in a loop of their own leave when they are done, and others join."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loopverse.depth import (
    FixedDepth,
    FixedPoint,
    Halting,
    LoopPlan,
    LoopResult,
    Staggered,
    iterate,
)


def step(z: Tensor, loops: Any, active: Any) -> Tensor:
    """Counts loops in one channel; the other is the row that the state belongs to."""
    assert torch.equal(z[:, 0, 0], loops.to(z.dtype))
    assert torch.equal(z[:, 0, 1], active.rows.to(z.dtype))
    return torch.stack([z[..., 0] + 1, z[..., 1]], -1)


@dataclass
class AfterLoops(Halting):
    """Halts a unit of row `r` after `r % 3 + 1` loops; notes which loops it was shown together."""

    adaptive = True

    def __post_init__(self) -> None:
        self.shown: list[Any] = []

    def update(
        self, memory: Any, before: Tensor, after: Tensor, i: Any, read: Any, head: Any
    ) -> tuple[Any, Tensor]:
        self.shown.append(i)
        loops = i + 1 if isinstance(i, int) else i[:, 0] + 1
        assert torch.equal(after[:, 0, 0], torch.as_tensor(loops).expand(len(after)).to(after))
        return memory, after[..., 1] % 3 + 1 <= after[..., 0]


class Mixed(AfterLoops):
    mixes_loops = True


def joined(roster: Staggered, rows: list[int], rule: Halting, deepest: int = 4) -> LoopResult:
    numbers = torch.tensor(rows, dtype=torch.long)
    roster.join(numbers)
    z = torch.stack([torch.zeros(len(rows)), numbers.float()], -1)[:, None]
    return iterate(step, z, LoopPlan(deepest, halting=rule), staggered=roster)


@pytest.mark.parametrize("kind", [AfterLoops, Mixed])
@settings(max_examples=30, deadline=None)
@given(
    waves=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    deepest=st.integers(1, 4),
    share=st.floats(0.01, 1.0),
)
def test_every_unit_gets_its_own_loops_whoever_is_with_it(
    kind: type[AfterLoops], waves: list[int], deepest: int, share: float
) -> None:
    roster, rule, done, begun = Staggered(share), kind(), {}, 0
    while waves or len(roster.rows):
        count = waves.pop(0) if waves else 0
        total = len(roster.rows) + count
        if not total:
            continue
        result = joined(roster, list(range(begun, begun + count)), rule, deepest)
        begun += count
        assert result.rows is not None
        assert result.converged is not None
        assert len(result.rows) >= share * total
        for row, z, loops, fired in zip(
            result.rows.tolist(), result.z, result.depth, result.converged, strict=True
        ):
            assert row not in done
            done[row] = int(loops)
            assert z[0].tolist() == [float(loops), float(row)]
            assert bool(fired) == (row % 3 + 1 <= deepest)
    assert done == {row: min(row % 3 + 1, deepest) for row in range(begun)}


def test_only_a_rule_that_mixes_loops_is_shown_several_and_never_the_first() -> None:
    for kind in (AfterLoops, Mixed):
        roster, rule = Staggered(share=0.1), kind()
        joined(roster, [0, 2, 5], rule)
        joined(roster, [8, 11], rule)
        mixed = [i for i in rule.shown if not isinstance(i, int)]
        assert bool(mixed) == (kind is Mixed)
        assert [i for i in rule.shown if isinstance(i, int)].count(0) == 2


def test_no_call_waits_for_more_than_its_share() -> None:
    roster, rule = Staggered(share=0.5), AfterLoops()
    assert joined(roster, [2, 3, 5, 8], rule).depth.flatten().tolist() == [1, 3, 3, 3]
    roster = Staggered(share=0.25)
    assert joined(roster, [2, 3, 5, 8], rule).depth.flatten().tolist() == [1]
    assert roster.rows.tolist() == [2, 5, 8]


def test_what_cannot_be_staggered_is_refused() -> None:
    roster = Staggered()
    with pytest.raises(ValueError, match="nothing can be looped"):
        joined(roster, [], FixedDepth())
    with pytest.raises(ValueError, match="join announced 0 units.*got .*\\[2, 1, 2\\]"):
        iterate(step, torch.zeros(2, 1, 2), LoopPlan(2), staggered=roster)
    roster.join(torch.tensor([0]))
    with pytest.raises(ValueError, match="no loss on every loop"):
        iterate(step, torch.zeros(1, 1, 2), LoopPlan(2, keep_states=True), staggered=roster)
    with pytest.raises(ValueError, match="share must be in"):
        Staggered(share=0)
    roster = Staggered(share=0.1)
    joined(roster, [0, 1], AfterLoops())
    with pytest.raises(ValueError, match="were begun with .*: use the same plan"):
        joined(roster, [2], FixedPoint())

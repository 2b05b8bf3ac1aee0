"""The one loop: it is a loop, row by row, whoever joins late or leaves early."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from depth.maps import Contraction, CountedStep, inputs
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor, nn

from loopverse.depth import (
    Checkpointed,
    ExitGate,
    ExitHead,
    FixedPoint,
    Full,
    Halting,
    LoopGradient,
    LoopPlan,
    Truncated,
    iterate,
)


@dataclass
class AtLoop(Halting):
    """Stops each unit after the loop that a table says: the simplest adaptive rule."""

    table: Tensor
    adaptive: ClassVar[bool] = True

    def begin(self, z: Tensor) -> dict[str, Tensor]:
        return {"table": self.table}

    def update(self, memory, before, after, i, read, head):
        return memory, memory["table"] == i + 1


@pytest.mark.parametrize(
    ("shrink", "late", "rows"),
    [
        ("always", False, [5, 4, 3, 1, 1]),
        ("halving", False, [5, 5, 3, 1, 1]),
        ("always", True, [5, 5, 4, 3, 1]),
        ("halving", True, [5, 5, 5, 3, 1]),
    ],
)
def test_a_rule_says_when_what_has_halted_leaves(shrink: str, late: bool, rows: list[int]) -> None:
    table = torch.tensor([3, 9, 1, 3, 2])[:, None]
    e = inputs(batch=5, length=1)
    step = Contraction().on(e)
    rule = AtLoop(table, shrink=shrink, late=late)
    result = iterate(step, torch.zeros_like(e), LoopPlan(5, halting=rule))
    computed = [5 if active is None else len(active) for active in step.actives]
    assert computed == rows
    assert result.depth[:, 0].tolist() == [3, 5, 1, 3, 2]
    usual = iterate(Contraction().on(e), torch.zeros_like(e), LoopPlan(5, halting=AtLoop(table)))
    assert torch.equal(result.z, usual.z)


@pytest.mark.parametrize("loops", [1, 2, 7])
@pytest.mark.parametrize("gradient", [Full(), Truncated(3), Checkpointed()], ids=repr)
def test_a_fixed_depth_equals_a_loop_written_by_hand_to_the_bit(
    loops: int, gradient: LoopGradient
) -> None:
    module, e = Contraction(), inputs()
    step, z = module.on(e), torch.zeros_like(e)
    for i in range(loops):
        z = step(z, i, None)
    again = module.on(e)
    result = iterate(again, torch.zeros_like(e), LoopPlan(loops, gradient=gradient))
    assert torch.equal(result.z, z)
    assert again.loops == list(range(loops))
    assert set(again.actives) == {None}
    assert torch.equal(result.depth, torch.full((3, 4), loops))
    assert result.converged is None
    assert result.states is None


def test_states_and_taps_see_every_loop_once_and_in_order() -> None:
    step, seen = Contraction().on(inputs()), []
    plan = LoopPlan(5, gradient=Checkpointed(segment=2), keep_states=True)
    result = iterate(step, inputs(seed=1), plan, tap=lambda i, z: seen.append((i, z)))
    assert [i for i, _ in seen] == list(range(5))
    assert result.states is not None
    assert all(torch.equal(z, state) for (_, z), state in zip(seen, result.states, strict=True))
    assert torch.equal(result.states[-1], result.z)
    result.z.sum().backward()
    assert len(seen) == 5  # the loops computed again in the backward pass are no new ones


@examples(30)
@given(depths=st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_a_depth_per_sequence_equals_each_row_alone_and_computes_nothing_else(
    depths: list[int],
) -> None:
    module, e = Contraction(), inputs(len(depths))
    start = inputs(len(depths), seed=1)
    step = module.on(e)
    with torch.no_grad():
        result = iterate(step, start, LoopPlan(torch.tensor(depths)))
        for row, loops in enumerate(depths):
            here = slice(row, row + 1)
            alone = iterate(module.on(e[here]), start[here], LoopPlan(loops))
            torch.testing.assert_close(result.z[here], alone.z, atol=1e-14, rtol=0)
    assert step.num_row_loops == sum(depths)
    assert torch.equal(result.depth, torch.tensor(depths)[:, None].expand(-1, 4))
    assert all(rows is not None and len(set(rows)) == len(rows) for rows in step.actives)


def test_rows_of_every_depth_end_together() -> None:
    step = Contraction().on(inputs(4))
    iterate(step, inputs(4, seed=1), LoopPlan(torch.tensor([1, 4, 2, 4])))
    assert [set(rows or []) for rows in step.actives] == [{1, 3}, {1, 3}, {1, 2, 3}, {0, 1, 2, 3}]


@examples(40)
@given(data=st.data(), batch=st.integers(1, 4), deepest=st.integers(1, 5))
def test_units_that_stop_never_change_again_and_rows_that_are_done_leave(
    data: st.DataObject, batch: int, deepest: int
) -> None:
    length = 3
    when = st.lists(st.integers(1, 7), min_size=length, max_size=length)
    table = torch.tensor([data.draw(when) for _ in range(batch)])
    e, start = inputs(batch, length), inputs(batch, length, seed=1)
    step = Contraction().on(e)
    with torch.no_grad():
        result = iterate(step, start, LoopPlan(deepest, halting=AtLoop(table)))
        states = [start]
        for _ in range(deepest):
            states.append(step.function(states[-1], e))
    depth = table.clamp(max=deepest)
    expected = torch.stack(states).gather(0, depth[None, :, :, None].expand(1, -1, -1, 6))[0]
    # Positions of this map do not look at each other.
    torch.testing.assert_close(result.z, expected, atol=1e-14, rtol=0)
    assert torch.equal(result.depth, depth)
    assert result.converged is not None
    assert torch.equal(result.converged, table <= deepest)
    assert step.num_row_loops == int(depth.max(dim=1).values.sum())


def test_a_halted_unit_is_read_by_the_others_as_it_was_left() -> None:
    """Positions that look at each other: the mean of a row enters every position."""
    table, start = torch.tensor([[1, 3]]), inputs(1, 2)

    def step(z, i, active):
        return 0.5 * z + z.mean(dim=1, keepdim=True)

    result = iterate(step, start, LoopPlan(3, halting=AtLoop(table)))
    first = step(start, 0, None)
    second = torch.stack([first[0, 0], step(first, 1, None)[0, 1]])[None]
    third = step(second, 2, None)
    assert torch.equal(result.z[0, 0], first[0, 0])
    assert torch.equal(result.z[0, 1], third[0, 1])


def test_running_into_the_largest_depth_is_reported_and_raises_nothing() -> None:
    step = Contraction(bound=1.0).on(inputs())
    result = iterate(step, inputs(seed=1), LoopPlan(3, halting=FixedPoint(tolerance=1e-12)))
    assert result.converged is not None
    assert not result.converged.any()
    assert (result.depth == 3).all()
    assert result.z.isfinite().all()


def test_a_state_that_explodes_never_counts_as_settled() -> None:
    step = CountedStep(lambda z, e: z * 1e300 * 10 + e, inputs())
    result = iterate(step, inputs(), LoopPlan(4, halting=FixedPoint(0.5)))
    assert result.converged is not None
    assert not result.converged.any()


def test_a_rule_is_asked_about_the_rows_at_hand_with_a_way_to_read_them() -> None:
    table, asked = torch.tensor([[1], [3], [2]]), []

    @dataclass
    class Curious(AtLoop):
        def update(self, memory, before, after, i, read, head):
            asked.append(read(after))
            return super().update(memory, before, after, i, read, head)

    step = Contraction().on(inputs(3, 1))
    iterate(
        step,
        inputs(3, 1, seed=1),
        LoopPlan(3, halting=Curious(table)),
        read=lambda z, active: (len(z), None if active is None else active.rows.tolist()),
    )
    assert asked == [(3, None), (2, [1, 2]), (1, [1])]


def test_only_the_last_loops_of_a_truncated_gradient_are_recorded() -> None:
    recorded = []

    def step(z, i, active):
        recorded.append(torch.is_grad_enabled())
        return 0.5 * z + weight

    weight = nn.Parameter(torch.ones(2))
    iterate(step, torch.zeros(1, 1, 2), LoopPlan(5, gradient=Truncated(2)))
    assert recorded == [False, False, False, True, True]


def test_the_exit_gate_stops_where_its_probability_has_accumulated() -> None:
    torch.manual_seed(0)
    head = ExitHead(6).double()
    e, start = inputs(5, 3), inputs(5, 3, seed=1)
    module = Contraction(bound=1.0)
    with torch.no_grad():
        plan = LoopPlan(4, halting=ExitGate(threshold=0.8), head=head)
        result = iterate(module.on(e), start, plan)
        z, depth = start, torch.zeros(5, 3, dtype=torch.long)
        going_on, halted = torch.ones(5, 3), torch.zeros(5, 3, dtype=torch.bool)
        for i in range(4):
            z = module.on(e)(z, i, None)
            depth += ~halted
            going_on = going_on * (1 - torch.sigmoid(head(z)))
            halted |= 1 - going_on >= 0.8
    assert len(depth.unique()) > 1
    assert torch.equal(result.depth, depth)


def test_a_table_of_depths_of_another_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one integer per sequence, shape \[3\], got \[2\]"):
        iterate(Contraction().on(inputs()), inputs(), LoopPlan(torch.tensor([1, 2])))

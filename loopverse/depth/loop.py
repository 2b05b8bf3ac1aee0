"""The loop over depth. There is no other one in Loopverse."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from loopverse.depth.gradient import Full
from loopverse.depth.halting import Active, ReadActive
from loopverse.depth.plan import LoopPlan, LoopResult
from loopverse.depth.roster import roster_for
from loopverse.depth.staggered import Staggered


class Step(Protocol):
    """One loop: reads the state of the active rows and returns the next one."""

    def __call__(self, z: Tensor, i: Any, active: Active | None, /) -> Tensor:
        """Map `z [n t d]`, or `[1 N d]` of units side by side, to the next state of the same shape.

        Args:
            z: state of the units at hand.
            i: index of the loop, from 0; with `staggered`, of each unit, `[n]`.
            active: which units of the batch these are; None means all, in order. The same object
                as long as they are the same.
        """
        ...


def iterate(
    step: Step,
    z: Tensor,
    plan: LoopPlan,
    *,
    read: ReadActive | None = None,
    tap: Callable[[int, Tensor], None] | None = None,
    absent: Tensor | None = None,
    packs: bool = False,
    staggered: Staggered | None = None,
) -> LoopResult:
    """Apply `step` again and again, as `plan` says.

    Args:
        step: one loop.
        z: initial state, `[b t d]`.
        plan: how deep, when to stop, how to differentiate.
        read: turns the state of the active rows into the domain's predictive distribution, for rules
            that look at it.
        tap: called once after each loop with its index and the state of the units that go on.
        absent: units that are only padding, `[b t]`: an adaptive rule does not wait for them.
        packs: whether `step` and `read` take units of rows side by side, so that units that have halted
            need not be computed along with the others of their row.
        staggered: units under way from earlier calls. Those of `z` join them, and the call ends as soon as
            some are done: the result is theirs.

    Returns:
        The final state, with the depth that each unit got. A rule that never fired is a false in
        `converged`, not an exception.

    Raises:
        ValueError: a rule that looks at predictions, and no `read`.
    """
    if plan.halting.reads and read is None:
        raise ValueError(
            f"halting {type(plan.halting).__name__} looks at predictions and there is nothing to read them "
            "with: implement `predict` in the domain, or choose a rule on the state, such as fixed_point"
        )
    gradient = Full()
    if torch.is_grad_enabled():
        plan.check_gradient()  # it may have been made where no gradient was recorded
        gradient = plan.gradient
    roster = roster_for(z, plan, absent, packs) if staggered is None else staggered.begin(z, plan)
    one_loop = gradient.wrap(step)
    states: list[Tensor] = []
    num_seen = 0

    def advance(z: Tensor, loops: range) -> Tensor:
        nonlocal num_seen
        for i in loops:
            z = roster.enter(z, i)
            z = roster.leave(z, one_loop(z, roster.loop(i), roster.active), i, read)
            if i == num_seen:  # not when a checkpointed segment runs again in the backward pass
                num_seen += 1
                if plan.keep_states:
                    states.append(z)
                if tap is not None:
                    tap(i, z)
            if roster.over:
                break
        return z

    for loops in gradient.segments(plan.deepest):
        z = gradient.run(lambda z, loops=loops: advance(z, loops), z, loops, plan.deepest)
    z = roster.gather(z)
    z, adjoint = gradient.attach(lambda z: step(z, plan.deepest - 1, None), z)
    return LoopResult(
        z=z,
        depth=roster.depth(z),
        converged=roster.converged(),
        states=states if plan.keep_states else None,
        adjoint=adjoint,
        rows=roster.who(),
    )

"""Units that are each in a loop of their own: who is done leaves, and others join on the way."""

import math
from collections.abc import Iterator
from typing import cast

import torch
from jaxtyping import Int
from torch import Tensor

from loopverse.depth.halting import Active, Memory, ReadActive
from loopverse.depth.plan import LoopPlan
from loopverse.depth.roster import Roster

SHARE = 3 / 8


class Staggered(Roster):
    """One unit of each of some rows, looped together, whichever loop each of them is in.

    It outlives a call of `iterate`. A call begins with the units that join and ends as soon as a share of
    all of them is done, with the states of those that are; the others wait for the next call, which goes
    on with them in the loop that each of them is in. So none waits for the deepest, and the looped layers
    always have many units to work on. No call needs more loops than the deepest unit.

    Args:
        share: of the units of a call that must be done for it to end, in (0, 1]. What comes after the loop
            and before the next one costs nearly as much for one unit as for several, and units that wait
            leave the loop less to do; 3/8 lost least in a model of both.

    Attributes:
        rows: of the units under way, in the order of their states. At most one unit of a row is.
    """

    def __init__(self, share: float = SHARE) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share must be in (0, 1], got {share}")
        self._share = share
        self.rows = self._loops = torch.zeros(0, dtype=torch.long)
        self._joining = self.rows
        self._z: Tensor | None = None  # of the units under way, between calls
        self._memory: Memory = {}
        self._plan: LoopPlan | None = None

    def join(self, rows: Int[Tensor, " n"]) -> None:
        """Say of which rows the initial states of the next call are."""
        self._joining = rows

    def begin(self, z: Tensor, plan: LoopPlan) -> "Staggered":
        """A call begins, and the units of the initial states `z [n 1 d]` join.

        Raises:
            ValueError: a plan that needs all units at once, or another one than that of the units under
                way; units that are not those that `join` announced, or none at all.
        """
        self._check(z, plan)
        rows, self._joining, self._num_new = self._joining, self._joining[:0], len(z)
        if not len(self.rows):
            self.rows, self._loops, self._z = rows, torch.zeros_like(rows), z
        elif len(z):
            self.rows = torch.cat([self.rows, rows])
            self._loops = torch.cat([self._loops, torch.zeros_like(rows)])
            self._z = torch.cat([self._state, z])
        self._wanted = math.ceil(self._share * len(self.rows))
        self._left: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []  # rows, loops, z, fired
        self._first_memory = plan.halting.begin(z) if len(z) else {}
        self._plan, self.active, self.over = plan, Active(self.rows), False
        return self

    def loop(self, i: int) -> Tensor:
        return self._loops

    def enter(self, z: Tensor, i: int) -> Tensor:
        return self._state if i == 0 else z

    def leave(self, before: Tensor, after: Tensor, i: int, read: ReadActive | None) -> Tensor:
        assert self._plan is not None
        rule, self._fired = self._plan.halting, None
        done = self._loops + 1 >= self._plan.deepest
        if rule.adaptive:
            if rule.damping:
                after = torch.lerp(after, before, rule.damping)
            self._fired = self._judged(before, after, read)
            done = done | self._fired
        self._loops, self._num_new = self._loops + 1, 0
        return self._without(after, done) if bool(done.any()) else after

    def gather(self, z: Tensor) -> Tensor:
        """The final states of the units that are done; `z` is that of the others."""
        self._z = z
        return torch.cat([z for _, _, z, _ in self._left])

    def depth(self, z: Tensor) -> Tensor:
        return torch.cat([loops for _, loops, _, _ in self._left])[:, None]

    def converged(self) -> Tensor | None:
        fired = [fired for _, _, _, fired in self._left if fired is not None]
        return torch.cat(fired)[:, None] if fired else None

    def who(self) -> Tensor:
        return torch.cat([rows for rows, _, _, _ in self._left])

    @property
    def _state(self) -> Tensor:
        assert self._z is not None
        return self._z

    def _without(self, z: Tensor, done: Tensor) -> Tensor:
        """Go on with the units that are not done."""
        gone, stay = done.nonzero().squeeze(1), (~done).nonzero().squeeze(1)
        fired = None if self._fired is None else self._fired[gone]
        self._left.append((self.rows[gone], self._loops[gone], z.index_select(0, gone), fired))
        self.rows, self._loops = self.rows[stay], self._loops[stay]
        self._memory = _taken(self._memory, stay)
        self.active = Active(self.rows)
        num_done = sum(len(rows) for rows, _, _, _ in self._left)
        self.over = num_done >= self._wanted or not len(stay)
        return z.index_select(0, stay)

    def _judged(self, before: Tensor, after: Tensor, read: ReadActive | None) -> Tensor:
        """For which units the rule fires, `[n]`; what it remembers of them is renewed."""
        assert self._plan is not None
        rule, head = self._plan.halting, self._plan.head
        order, memories, stops = [], [], []
        for units, i, memory in self._groups():
            some = len(units) < len(self.rows)
            active = Active(self.rows[units]) if some else self.active
            look = None if read is None else lambda z, active=active: read(z, active)
            states = (before[units], after[units]) if some else (before, after)
            memory, stop = rule.update(memory, *states, i, look, head)
            order.append(units)
            memories.append(memory)
            stops.append(stop[:, 0])
        if len(order) == 1:
            self._memory = memories[0]
            return stops[0]
        self._memory = {
            name: torch.cat([memory[name] for memory in memories]) for name in memories[0]
        }
        fired = torch.cat(stops)
        if rule.mixes_loops:  # they came in order
            return fired
        back = torch.cat(order).argsort()
        self._memory = _taken(self._memory, back)
        return fired.index_select(0, back)

    def _groups(self) -> Iterator[tuple[Tensor, int, Memory]]:
        """The units that a rule is shown together: which, in which loop, what it remembers of them."""
        assert self._plan is not None
        numbers = torch.arange(len(self._loops), device=self._loops.device)
        old = numbers[: len(numbers) - self._num_new]
        if len(old) and self._plan.halting.mixes_loops:
            loops = self._loops[: len(old), None]
            yield old, cast(int, loops), self._memory  # such a rule takes a tensor too
        elif len(old):
            for i in self._loops[old].unique().tolist():
                units = old[self._loops[old] == i]
                yield units, i, _taken(self._memory, units)
        if self._num_new:
            yield numbers[len(old) :], 0, self._first_memory

    def _check(self, z: Tensor, plan: LoopPlan) -> None:
        if plan.keep_states or isinstance(plan.depth, Tensor):
            raise ValueError(
                "units that are each in a loop of their own need one largest depth and no loss on every "
                "loop: give a single number of loops, and use objective=final"
            )
        if list(z.shape[:2]) != [len(self._joining), 1]:
            raise ValueError(
                f"join announced {len(self._joining)} units, one of each row, got initial states of shape "
                f"{list(z.shape)}: announce as many rows as there are states"
            )
        if not len(self.rows) + len(z):
            raise ValueError("there is no unit under way and none joins: nothing can be looped")
        known = self._plan if len(self.rows) else None
        if known and (known.deepest, known.halting) != (plan.deepest, plan.halting):
            raise ValueError(
                f"units under way were begun with {known.halting} and {known.deepest} loops, got "
                f"{plan.halting} and {plan.deepest}: use the same plan until all of them are done"
            )


def _taken(memory: Memory, units: Tensor) -> Memory:
    return {name: x.index_select(0, units) for name, x in memory.items()}

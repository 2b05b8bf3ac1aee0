"""Who is in the loop: every row, rows that join late, or rows that leave early."""

import torch
from torch import Tensor

from loopverse.depth.halting import Active, ReadActive
from loopverse.depth.plan import LoopPlan


class Roster:
    """Every row, in every loop: the fast path, the same graph as a hand-written loop."""

    active: Active | None = None
    empty: bool = False

    def __init__(self, z: Tensor, plan: LoopPlan) -> None:
        self._plan = plan

    def enter(self, z: Tensor, i: int) -> Tensor:
        """The state of the rows in loop `i`, given that of the rows in the loop before."""
        return z

    def leave(self, before: Tensor, after: Tensor, i: int, read: ReadActive | None) -> Tensor:
        """The state of the rows that go on after loop `i`."""
        return after

    def gather(self, z: Tensor) -> Tensor:
        """The final state of all rows, in the order of the batch."""
        return z

    def depth(self, z: Tensor) -> Tensor:
        """Loops that each unit got, `[b t]`."""
        return torch.full(z.shape[:2], self._plan.deepest, device=z.device)

    def converged(self) -> Tensor | None:
        """Where a halting rule fired, `[b t]`."""
        return None


class JoiningRoster(Roster):
    """One depth per sequence: a row of depth `n` joins for the last `n` loops of the deepest row.

    All rows end together, so that "the last k loops" is the same for all, and no loop is computed
    for a row that does not need it.
    """

    def __init__(self, z: Tensor, plan: LoopPlan) -> None:
        super().__init__(z, plan)
        depth = plan.depth
        assert isinstance(depth, Tensor)
        if depth.shape != z.shape[:1]:
            raise ValueError(
                f"depth must hold one integer per sequence, shape [{len(z)}], got {list(depth.shape)}"
            )
        self._depths = depth
        deepest_first = torch.argsort(depth.cpu(), descending=True, stable=True)
        entries = plan.deepest - depth.cpu()[deepest_first]
        self._counts = torch.searchsorted(entries, torch.arange(plan.deepest), right=True).tolist()
        self._order = deepest_first.to(z.device)
        self._start = z

    def enter(self, z: Tensor, i: int) -> Tensor:
        count = self._counts[i]
        if self.active is None or len(self.active.rows) != count:
            self.active = Active(self._order[:count])
        if i == 0:
            return self._start[self.active.rows]
        if count > len(z):
            return torch.cat([z, self._start[self.active.rows[len(z) :]]])
        return z

    def gather(self, z: Tensor) -> Tensor:
        return z[torch.argsort(self._order)]

    def depth(self, z: Tensor) -> Tensor:
        return self._depths.to(z.device)[:, None].expand(z.shape[:2])


PACKED_BELOW = 0.9
"""Of the units at hand, so many must go on for whole rows to be computed; below, they are packed."""


class LeavingRoster(Roster):
    """An adaptive rule: units stop, never change again, and are not computed any more.

    Rows in which all units have halted leave at once. Units that halt while others of their row go on
    are computed along, without effect, as long as they are few, or where the rule's `kv` asks for it;
    otherwise the units that go on are packed side by side.
    """

    def __init__(self, z: Tensor, plan: LoopPlan, absent: Tensor | None, packs: bool) -> None:
        super().__init__(z, plan)
        batch, length = z.shape[:2]
        self._splits = packs and plan.halting.splits_rows and length > 1
        numbers = torch.arange(batch * length, device=z.device)
        self._shape, self._absent = (batch, length), absent
        self._units = numbers.view(batch, length)  # at hand, by number in the batch
        self._halted = torch.zeros_like(self._units, dtype=torch.bool)  # of these
        self._any_halted = self._packed = False
        self._memory = plan.halting.begin(z)
        self._depth = torch.full_like(numbers, plan.deepest)
        self._converged = torch.zeros_like(numbers, dtype=torch.bool)
        self._left: list[tuple[Tensor, Tensor]] = []

    def leave(self, before: Tensor, after: Tensor, i: int, read: ReadActive | None) -> Tensor:
        rule = self._plan.halting
        if rule.damping:
            after = torch.lerp(after, before, rule.damping)
        look = None if read is None else lambda z: read(z, self.active)
        self._memory, stops = rule.update(self._memory, before, after, i, look, self._plan.head)
        if i == 0 and self._absent is not None:
            stops = stops | self._absent
        if self._any_halted:
            after = torch.where(self._halted[..., None], before, after)
            stops = stops & ~self._halted
        if not bool(stops.any()):
            return after
        stopped = self._units[stops]
        self._depth[stopped] = i + 1
        self._converged[stopped] = True
        self._halted = self._halted | stops
        return self._without_halted(after)

    def _without_halted(self, z: Tensor) -> Tensor:
        """The state of the units that are computed in the next loop."""
        length, done = self._shape[1], self._halted.all(dim=1)
        if self._packed or (self._splits and self._packing_pays(done)):
            return self._pack(z)
        if bool(done.any()):
            z = self._without_rows(z, done)
        self._any_halted = length > 1 and bool(self._halted.any())
        halted = self._halted if self._splits and self._any_halted else None
        self.active = Active(self._units[:, 0] // length, halted=halted)
        return z

    def _packing_pays(self, done: Tensor) -> bool:
        going_on = self._halted.numel() - int(self._halted.sum())
        return going_on < PACKED_BELOW * int((~done).sum()) * self._halted.shape[1]

    def _without_rows(self, z: Tensor, done: Tensor) -> Tensor:
        """Go on with the rows that are not done."""
        self._left.append((self._units[done].flatten(), z[done].flatten(0, 1)))
        stay = ~done
        self._units, self._halted = self._units[stay], self._halted[stay]
        self._memory = {name: value[stay] for name, value in self._memory.items()}
        self.empty = len(self._units) == 0
        return z[stay]

    def _pack(self, z: Tensor) -> Tensor:
        """Go on with the units that have not halted, side by side: `[1 N d]`."""
        length = self._shape[1]
        halted = self._halted.flatten()
        stay, units, states = ~halted, self._units.flatten(), z.flatten(0, 1)
        self._left.append((units[halted], states[halted]))
        self._memory = {n: value.flatten(0, 1)[stay][None] for n, value in self._memory.items()}
        units = units[stay]
        self._packed, self._any_halted, self.empty = True, False, len(units) == 0
        self._units, self._halted = units[None], torch.zeros_like(units[None], dtype=torch.bool)
        rows = units // length
        self.active = Active(
            rows, units % length, whole=lambda z: self.gather(z)[torch.unique_consecutive(rows)]
        )
        return states[stay][None]

    def gather(self, z: Tensor) -> Tensor:
        if not self._left:
            return z
        units = torch.cat([*(units for units, _ in self._left), self._units.flatten()])
        states = torch.cat([*(states for _, states in self._left), z.flatten(0, 1)])
        return states[torch.argsort(units)].view(*self._shape, -1)

    def depth(self, z: Tensor) -> Tensor:
        return self._depth.view(self._shape)

    def converged(self) -> Tensor:
        return self._converged.view(self._shape)


def roster_for(z: Tensor, plan: LoopPlan, absent: Tensor | None, packs: bool) -> Roster:
    """The roster that a plan needs, for the initial state `z [b t d]`."""
    if plan.halting.adaptive:
        return LeavingRoster(z, plan, absent, packs)
    if isinstance(plan.depth, Tensor):
        return JoiningRoster(z, plan)
    return Roster(z, plan)

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


class LeavingRoster(Roster):
    """An adaptive rule: units stop, never change again, and rows that are done leave the batch."""

    def __init__(self, z: Tensor, plan: LoopPlan) -> None:
        super().__init__(z, plan)
        self._memory = plan.halting.begin(z)
        self._rows = torch.arange(len(z), device=z.device)
        self._halted = torch.zeros(z.shape[:2], dtype=torch.bool, device=z.device)
        self._depth = torch.zeros(z.shape[:2], dtype=torch.long, device=z.device)
        self._converged = self._halted.clone()
        self._left: list[tuple[Tensor, Tensor]] = []

    def leave(self, before: Tensor, after: Tensor, i: int, read: ReadActive | None) -> Tensor:
        self._depth[self._rows] += (~self._halted).long()
        look = None if read is None else lambda z: read(z, self.active)
        self._memory, stops = self._plan.halting.update(
            self._memory, before, after, i, look, self._plan.head
        )
        after = torch.where(self._halted[..., None], before, after)
        self._halted = self._halted | stops
        self._converged[self._rows] = self._halted
        done = self._halted.all(dim=1)
        if not bool(done.any()):
            return after
        stay = ~done
        self._left.append((self._rows[done], after[done]))
        self._rows, self._halted = self._rows[stay], self._halted[stay]
        self._memory = {name: value[stay] for name, value in self._memory.items()}
        self.active = Active(self._rows)
        self.empty = len(self._rows) == 0
        return after[stay]

    def gather(self, z: Tensor) -> Tensor:
        if not self._left:
            return z
        rows = torch.cat([*(rows for rows, _ in self._left), self._rows])
        states = torch.cat([*(state for _, state in self._left), z])
        return states[torch.argsort(rows)]

    def depth(self, z: Tensor) -> Tensor:
        return self._depth

    def converged(self) -> Tensor:
        return self._converged


def roster_for(z: Tensor, plan: LoopPlan) -> Roster:
    """The roster that a plan needs, for the initial state `z [b t d]`."""
    if plan.halting.adaptive:
        return LeavingRoster(z, plan)
    if isinstance(plan.depth, Tensor):
        return JoiningRoster(z, plan)
    return Roster(z, plan)

"""Who is in the loop: every row, rows that join late, or rows that leave early."""

import torch
from torch import Tensor

from loopverse.depth.halting import Active, ReadActive
from loopverse.depth.plan import LoopPlan


class Roster:
    """Every row, in every loop: the fast path, the same graph as a hand-written loop."""

    active: Active | None = None
    over: bool = False
    """Whether there is nothing left to do in this call."""

    def __init__(self, z: Tensor, plan: LoopPlan) -> None:
        self._plan = plan

    def loop(self, i: int) -> int | Tensor:
        """Which loop the `i`-th of this call is; `[n]` where the units are in different ones."""
        return i

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

    def who(self) -> Tensor | None:
        """Of which rows the final state is, `[b]`; None: of all, in order."""
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
    otherwise the units that go on are packed side by side. The rule may let them linger: see its `shrink`
    and `late`.
    """

    def __init__(self, z: Tensor, plan: LoopPlan, absent: Tensor | None, packs: bool) -> None:
        super().__init__(z, plan)
        batch, length = z.shape[:2]
        rule = plan.halting
        self._splits = packs and rule.splits_rows and length > 1
        self._lingers, self._late = rule.lingers, Delayed() if rule.late else None
        self._shape, self._absent = (batch, length), absent
        self._memory = rule.begin(z)
        numbers = torch.arange(batch * length, device=z.device).view(batch, length)
        self._units = numbers  # at hand, by number in the batch
        self._loops = torch.zeros_like(numbers)  # after which each of these halted; 0: it goes on
        self._any_halted = self._packed = False  # of those at hand
        self._left: list[tuple[Tensor, Tensor, Tensor]] = []  # units, loops, states

    def leave(self, before: Tensor, after: Tensor, i: int, read: ReadActive | None) -> Tensor:
        rule = self._plan.halting
        if rule.damping:
            after = torch.lerp(after, before, rule.damping)
        halted = self._loops > 0 if self._any_halted else None
        if halted is not None:
            after = torch.where(halted[..., None], before, after)
        look = None if read is None else lambda z: read(z, self.active)
        self._memory, stops = rule.update(self._memory, before, after, i, look, self._plan.head)
        if i == 0 and self._absent is not None:
            stops = stops | self._absent
        if halted is not None:
            stops = stops & ~halted
        if self._late is None and not bool(stops.any()):
            return after
        self._loops = self._loops.masked_fill(stops, i + 1)
        return after if i + 1 == self._plan.deepest else self._without_halted(after)

    def _without_halted(self, z: Tensor) -> Tensor:
        """The state of the units that are computed in the next loop."""
        known = self._loops > 0 if self._late is None else self._late.heard
        if known is not None:
            z = self._smaller(z, known)
        halted = self._loops > 0
        if self._late is not None:
            self._late.send(halted)
            self._any_halted = True
        else:  # where nothing lingers, only whole rows have units at hand that halted
            some = self._lingers or (self._shape[1] > 1 and not self._packed)
            self._any_halted = some and bool(halted.any())
        self.active = self._described(halted if self._any_halted else None)
        return z

    def _smaller(self, z: Tensor, halted: Tensor) -> Tensor:
        """The state without what leaves, of what is known to have halted."""
        done = halted.all(dim=1)
        packs = self._packed or (self._splits and self._packing_pays(halted, done))
        gone, stay = self._parted(halted.flatten() if packs else done)
        if packs and (len(gone) or not self._packed):
            return self._pack(z, gone, stay)
        return self._without_rows(z, gone, stay) if len(gone) else z

    def _packing_pays(self, halted: Tensor, done: Tensor) -> bool:
        going_on = halted.numel() - int(halted.sum())
        return going_on < PACKED_BELOW * int((~done).sum()) * halted.shape[1]

    def _parted(self, done: Tensor) -> tuple[Tensor, Tensor]:
        """Which leave, of those that are `done [n]`, and which stay at hand."""
        gone = done.nonzero().squeeze(1)
        if self._plan.halting.shrink == "halving":
            gone = gone[: len(done) - _halved(len(done), len(done) - len(gone))]
            done = torch.zeros_like(done).index_fill(0, gone, True)
        device = self._units.device
        stay = (~done).nonzero().squeeze(1)
        return gone.to(device, non_blocking=True), stay.to(device, non_blocking=True)

    def _described(self, halted: Tensor | None) -> Active:
        """The units at hand."""
        length = self._shape[1]
        if not self._packed:
            return Active(self._units[:, 0] // length, halted=halted)
        units = self._units[0]
        rows = units // length
        return Active(
            rows,
            units % length,
            halted,
            lambda z: self.gather(z)[torch.unique_consecutive(rows)],
        )

    def _without_rows(self, z: Tensor, gone: Tensor, stay: Tensor) -> Tensor:
        """Go on with the rows that stay."""
        self._leave(*(x.index_select(0, gone).flatten(0, 1) for x in self._at_hand(z)))
        self._memory = {name: x.index_select(0, stay) for name, x in self._memory.items()}
        self._units, self._loops, z = (x.index_select(0, stay) for x in self._at_hand(z))
        self.over = len(stay) == 0
        return z

    def _pack(self, z: Tensor, gone: Tensor, stay: Tensor) -> Tensor:
        """Go on with the units that stay, side by side: `[1 N d]`."""
        flat = [x.flatten(0, 1) for x in self._at_hand(z)]
        self._leave(*(x.index_select(0, gone) for x in flat))
        self._memory = {
            name: x.flatten(0, 1).index_select(0, stay)[None] for name, x in self._memory.items()
        }
        units, loops, z = (x.index_select(0, stay) for x in flat)
        self._units, self._loops = units[None], loops[None]
        self._packed, self.over = True, len(stay) == 0
        return z[None]

    def _at_hand(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self._units, self._loops, z

    def _leave(self, units: Tensor, loops: Tensor, states: Tensor) -> None:
        self._left.append((units, loops, states))

    def gather(self, z: Tensor) -> Tensor:
        if not self._left:
            return z
        states = [*(states for _, _, states in self._left), z.flatten(0, 1)]
        return torch.cat(states).index_select(0, self._order).view(*self._shape, -1)

    def depth(self, z: Tensor) -> Tensor:
        loops = self._halted_after
        return loops.masked_fill(loops == 0, self._plan.deepest)

    def converged(self) -> Tensor:
        return self._halted_after > 0

    @property
    def _halted_after(self) -> Tensor:
        """Loops after which each unit of the batch halted, `[b t]`; 0: it did not."""
        if not self._left:
            return self._loops
        loops = [*(loops for _, loops, _ in self._left), self._loops.flatten()]
        return torch.cat(loops).index_select(0, self._order).view(self._shape)

    @property
    def _order(self) -> Tensor:
        """Where the units that left, one after another, and then those at hand belong."""
        return torch.cat([*(units for units, _, _ in self._left), self._units.flatten()]).argsort()


class Delayed:
    """A mask that is sent to the host, which reads it later, when it need not wait for the device."""

    def __init__(self) -> None:
        self._sent: tuple[Tensor, torch.Event | None] | None = None

    def send(self, mask: Tensor) -> None:
        """Begin to copy a mask; the device works on."""
        event = None
        copy = mask.to("cpu", non_blocking=True)
        if mask.device.type != "cpu":
            event = torch.Event(mask.device)
            event.record()
        self._sent = copy, event

    @property
    def heard(self) -> Tensor | None:
        """The mask that was sent last, on the host; None: there was none."""
        if self._sent is None:
            return None
        mask, event = self._sent
        if event is not None:
            event.synchronize()
        return mask


def _halved(size: int, needed: int) -> int:
    """The size, or the smallest of its halves, quarters and so on in which so many fit."""
    while needed <= -(-size // 2) < size:
        size = -(-size // 2)
    return size if needed else 0


def roster_for(z: Tensor, plan: LoopPlan, absent: Tensor | None, packs: bool) -> Roster:
    """The roster that a plan needs, for the initial state `z [b t d]`."""
    if plan.halting.adaptive:
        return LeavingRoster(z, plan, absent, packs)
    if isinstance(plan.depth, Tensor):
        return JoiningRoster(z, plan)
    return Roster(z, plan)

"""What a model's state does from loop to loop, seen by a rule that stops nobody."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from loopverse.depth import Halting, effective_rank, step_size, turn
from loopverse.depth.halting import Memory, Read
from loopverse.domain import Thought
from loopverse.model import LoopedModel
from loopverse.nn import CoreInput
from loopverse.training.evaluation import SEED
from loopverse.training.precision import autocast
from loopverse.training.rows import Row
from loopverse.training.seeding import seed_everything, stream

TOKENS = 1024
"""States of a call that its rank is taken of, at most."""
ROWS = 4
"""Rows of a call that are kept for a closer look, at most."""


@dataclass(eq=False)
class Watch(Halting):
    """Stops nobody, and hears of every loop.

    Attributes:
        begun: called with the initial state of each call of the core.
        seen: called with the index of a loop, from 0, and the states before and after it.
    """

    begun: Callable[[Tensor], None]
    seen: Callable[[int, Tensor, Tensor], None]
    adaptive: ClassVar[bool] = True

    def begin(self, z: Tensor) -> Memory:
        self.begun(z)
        return {}

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Bool[Tensor, "n t"]]:
        self.seen(i, before, after)
        return memory, torch.zeros(after.shape[:2], dtype=torch.bool, device=after.device)


@dataclass
class Call:
    """One call of the core, as it can be looked at again.

    Attributes:
        inputs: what was read, `ROWS` rows at most; all of it in float32.
        first: the initial state.
        last: the state after the last loop.
        present: which units are no padding.
    """

    inputs: CoreInput
    first: Float[Tensor, "b t d"]
    last: Float[Tensor, "b t d"]
    present: Bool[Tensor, "b t"]


class Probe:
    """A `think` whose loops are taken down, for one batch.

    Args:
        model: whose core thinks.
        depth: loops of every call.
        seed: of the initial states.

    Attributes:
        step: relative change of the state in each loop, a mean over the units of each call.
        turn: cosine to the move of the loop before, from the second loop on, likewise.
        rank: effective rank of the states after each loop, for each call.
        last: the latest call.
    """

    def __init__(self, model: LoopedModel, depth: int, seed: int) -> None:
        self.step: dict[int, list[float]] = defaultdict(list)
        self.turn: dict[int, list[float]] = defaultdict(list)
        self.rank: dict[int, list[float]] = defaultdict(list)
        self.last: Call | None = None
        self._think = model.bind(
            depth, seed=seed, halting=Watch(self._begun, self._seen, kv="exact")
        )
        self._first: Tensor | None = None
        self._move: Tensor | None = None
        self._present: Tensor | None = None

    def __call__(
        self,
        inputs: CoreInput,
        carry: Float[Tensor, "b t d"] | None = None,
        outer: float | Float[Tensor, " b"] = 0.0,
        keep: Float[Tensor, "b t"] | None = None,
    ) -> Thought:
        """Think once; see `loopverse.domain.Think`."""
        self._present = inputs.attend.padding
        thought = self._think(inputs, carry, outer, keep)
        if inputs.cache is None and inputs.places is None and self._first is not None:
            self.last = _call(inputs, self._first, thought.result.z)
        return thought

    def _begun(self, z: Tensor) -> None:
        self._first, self._move = z, None

    def _seen(self, i: int, before: Tensor, after: Tensor) -> None:
        present = self._present
        if present is None:
            present = torch.ones(after.shape[:2], dtype=torch.bool, device=after.device)
        states, move = after[present], (after - before)[present]
        self.step[i].append(float(step_size(before[present], states).mean()))
        if self._move is not None:
            self.turn[i].append(float(turn(move, self._move).mean()))
        self._move = move
        if len(states) > 1:
            stride = -(-len(states) // TOKENS)
            self.rank[i].append(effective_rank(states[::stride]))


def _call(inputs: CoreInput, first: Tensor, last: Tensor) -> Call:
    rows = torch.arange(min(ROWS, len(inputs.x)), device=inputs.x.device)
    present = inputs.attend.padding
    if present is None:
        present = torch.ones(inputs.x.shape[:2], dtype=torch.bool, device=inputs.x.device)
    few = CoreInput(
        inputs.x[rows].float(),
        inputs.attend.take(rows),
        None if inputs.positions is None else inputs.positions[rows],
        None if inputs.cond is None else inputs.cond[rows].float(),
    )
    return Call(few, first[rows].float(), last[rows].float(), present[rows])


@torch.no_grad()
def loop_figures(model: LoopedModel, depth: int, *, batch_size: int, precision: str) -> Row:
    """How the state moves in each loop, on one held-out batch: for a look while training goes on.

    Args:
        model: on the device to use; left in the mode it was in.
        depth: loops of every call.
        batch_size: rows to look at.
        precision: "bf16" or "fp32".

    Returns:
        `change_1`, `turn_2`, `rank_1` and so on, by the number of the loop; empty without held-out data.
    """
    adapter, device, training = model.adapter, next(model.parameters()).device, model.training
    batch = next(iter(adapter.batches("valid", batch_size=batch_size, seed=SEED)), None)
    if batch is None:
        return {}
    batch = adapter.prepare(batch, stream(SEED, 0, "valid/0")).to(device)
    probe = Probe(model, depth, SEED)
    model.eval()
    try:
        seed_everything(SEED, 0, "valid/0", device)
        with autocast(precision, device):
            adapter(probe, batch)
    finally:
        model.train(training)
    named = {"change": probe.step, "turn": probe.turn, "rank": probe.rank}
    return {
        f"{name}_{loop + 1}": fmean(values)
        for name, by_loop in named.items()
        for loop, values in sorted(by_loop.items())
    }

"""Predictions at every depth, unit by unit: what changes, what is lost again, what could have stopped."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from loopverse.domain import DomainAdapter
from loopverse.training.evaluation import Measured

LOST = 0.1
"""By how many standard deviations over units a loss has to differ where a domain does not say what is right."""
ALIKE = 0.005
"""Nats by which an oracle's prediction may be worse than that of full depth."""


@dataclass
class Sweep:
    """Watches held-out data being read at several depths, the trained one first; one number a batch.

    Attributes:
        adapter: the domain.
        trained: the depth that others are held against.
        depths: all of them, shallow to deep.
        entropy: of the prediction, in nats, by depth.
        shift: `KL(p_i || p_j)` to the next shallower depth of the list, in nats.
        agreement: share of units whose most likely value is that of the trained depth.
        right: share of units that are predicted right.
        overthought: share of units that a shallower depth gets right and the trained one wrong; without
            right and wrong: whose loss was at least `LOST` lower there.
        refined: share of units of which the opposite holds: wrong at the shallowest, right as trained.
        oracle: loops of a unit if each stopped at the first depth as good as the trained one.
    """

    adapter: DomainAdapter
    trained: int
    depths: list[int]
    entropy: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    shift: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    agreement: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    right: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    overthought: list[float] = field(default_factory=list)
    refined: list[float] = field(default_factory=list)
    oracle: list[float] = field(default_factory=list)
    _read: dict[int, _Reading] = field(default_factory=dict)

    @property
    def knows_right(self) -> bool:
        """Whether the domain says which units are right."""
        return bool(self.right)

    def add(self, measured: Measured) -> None:
        """Take in a batch at one depth; the trained depth comes first, then the others, shallow to deep."""
        depth, outcome = measured.way.depth, measured.outcome
        now = _Reading(
            outcome.losses.detach().float(),
            outcome.weights > 0,
            self.adapter.correct(outcome, measured.batch),
            outcome.prediction,
        )
        if now.prediction is not None:
            now.entropy, now.mode = entropy(now.prediction), modes(now.prediction)
        self._read[depth] = now
        self._compare(depth)
        if len(self._read) == len(self.depths):
            self._take_in()
            self._read = {}

    def _compare(self, depth: int) -> None:
        """Note how predictions moved since the next shallower depth, as soon as both are there."""
        place = self.depths.index(depth)
        for here in (place, place + 1):  # the deeper one may have come first: the trained one does
            if not 0 < here < len(self.depths):
                continue
            before, after = (self._read.get(self.depths[n]) for n in (here - 1, here))
            if before is None or after is None:
                continue
            if before.prediction is not None and after.prediction is not None:
                after.shift = divergence(after.prediction, before.prediction)
        if depth != self.trained and place and (past := self.depths[place - 1]) != self.trained:
            self._read[past].prediction = None  # may be large, and nobody asks for it any more

    def _take_in(self) -> None:
        """Count the units of a batch that have a loss at any depth: what is given is no prediction."""
        final = self._read[self.trained]
        readings = [self._read[depth] for depth in self.depths]
        counts = final.weights & (torch.stack([one.losses for one in readings]) != 0).any(0)
        if not counts.any():
            return
        for depth, one in zip(self.depths, readings, strict=True):
            agrees = None
            if one.mode is not None and final.mode is not None:
                agrees = (one.mode == final.mode).float()
            for values, found in (
                (self.entropy, one.entropy),
                (self.shift, one.shift),
                (self.agreement, agrees),
                (self.right, None if one.correct is None else one.correct.float()),
            ):
                _note(values, depth, found, counts)
        self._units([one for d, one in self._read.items() if d < self.trained], final, counts)

    def _units(self, shallower: list[_Reading], final: _Reading, counts: Tensor) -> None:
        """Which units are found early, and which are lost again; `shallower` from shallow to deep."""
        losses = torch.stack([one.losses[counts] for one in (*shallower, final)])
        loops = torch.tensor([*(d for d in self.depths if d < self.trained), self.trained])
        enough = losses <= losses[-1] + ALIKE
        self.oracle.append(float(loops[enough.int().argmax(0).cpu()].double().mean()))
        if not shallower:
            return
        correct = [one.correct[counts] for one in (*shallower, final) if one.correct is not None]
        if not correct:
            much = LOST * losses[-1].std()
            self.overthought.append(_share(losses.amin(0) < losses[-1] - much))
            self.refined.append(_share(losses[0] > losses[-1] + much))
            return
        early = torch.stack(correct[:-1])
        self.overthought.append(_share(early.any(0) & ~correct[-1]))
        self.refined.append(_share(~early[0] & correct[-1]))


@dataclass
class _Reading:
    losses: Float[Tensor, "b t"]
    weights: Bool[Tensor, "b t"]
    correct: Bool[Tensor, "b t"] | None
    prediction: Distribution | None
    entropy: Tensor | None = None
    mode: Tensor | None = None
    shift: Tensor | None = None


def entropy(p: Distribution) -> Tensor | None:
    """Of each unit, in nats; None where it is not implemented."""
    try:
        return p.entropy()
    except NotImplementedError:
        return None


def divergence(p: Distribution, q: Distribution) -> Tensor | None:
    """`KL(p || q)` of each unit, in nats; None where it is not implemented."""
    try:
        return kl_divergence(p, q)
    except NotImplementedError:
        return None


def modes(p: Distribution) -> Tensor | None:
    """The most likely value of each unit, where values are categories; None where they are not."""
    try:
        mode = p.mode
    except NotImplementedError:
        return None
    return None if mode.is_floating_point() else mode


def _note(values: dict[int, list[float]], depth: int, found: Tensor | None, counts: Tensor) -> None:
    """The mean over the units that count, but for those of certain predictions that differ: infinite."""
    if found is None or found.shape != counts.shape:
        return
    known = found[counts].double()
    known = known[known.isfinite()]
    if len(known):
        values[depth].append(float(known.mean()))


def _share(units: Tensor) -> float:
    return float(units.double().mean())

"""Schedules: how many loops a training step, or each of its sequences, gets."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class LoopSchedule:
    """Decides the depth of a training step. Subclasses are the options of the group `schedule`.

    Every rank draws from a generator in the same state, so all agree on the depth of a step.
    """

    def draw(
        self, batch_size: int, *, progress: float = 1.0, outer: float = 0.0, rng: torch.Generator
    ) -> int | Tensor:
        """The depth: one int for the whole batch, or an integer tensor `[b]`, one per sequence.

        Args:
            batch_size: number of sequences `b` in the batch.
            progress: how much of training is done, in [0, 1].
            outer: where the domain's outer process stands (denoising, horizon), in [0, 1].
            rng: a CPU generator; the only source of randomness.
        """
        raise NotImplementedError

    def typical(self) -> int:
        """The depth to evaluate and sample with when nobody asks for another."""
        raise NotImplementedError

    def largest(self) -> int | None:
        """The deepest draw possible, or None where there is no bound."""
        raise NotImplementedError


@dataclass
class Constant(LoopSchedule):
    """The same depth at every step.

    Attributes:
        loops: loops of every step.
    """

    loops: int = 4

    def __post_init__(self) -> None:
        _at_least("schedule.loops", self.loops, 1)

    def draw(self, batch_size: int, **_: Any) -> int:
        return self.loops

    def typical(self) -> int:
        return self.loops

    def largest(self) -> int:
        return self.loops


@dataclass
class Uniform(LoopSchedule):
    """Every depth from `low` to `high` equally often (LoopMDM, 2605.26106: U{1..S_max} per step).

    Attributes:
        low: smallest depth.
        high: largest depth, included.
        per_sequence: draw one depth per sequence instead of one per step.
    """

    low: int = 1
    high: int = 4
    per_sequence: bool = False

    def __post_init__(self) -> None:
        _at_least("schedule.low", self.low, 1)
        _at_least("schedule.high", self.high, self.low, name_of_least="schedule.low")

    def draw(self, batch_size: int, *, rng: torch.Generator, **_: Any) -> int | Tensor:
        count = batch_size if self.per_sequence else 1
        drawn = torch.randint(self.low, self.high + 1, (count,), generator=rng)
        return drawn if self.per_sequence else int(drawn)

    def typical(self) -> int:
        return self.high

    def largest(self) -> int:
        return self.high


@dataclass
class InverseCost(LoopSchedule):
    """Depths from `low` to `high`, each with a probability inverse to the cost of a step that deep.

    So that every depth gets the same share of the FLOPs, not of the steps. The cost of depth `n` is
    `prelude + n * loop + coda` layers.

    Attributes:
        low: smallest depth.
        high: largest depth, included.
        prelude: layers before the loop.
        loop: looped layers.
        coda: layers after the loop.
    """

    low: int = 1
    high: int = 4
    prelude: int = 1
    loop: int = 2
    coda: int = 1

    def __post_init__(self) -> None:
        _at_least("schedule.low", self.low, 1)
        _at_least("schedule.high", self.high, self.low, name_of_least="schedule.low")
        for name in ("prelude", "loop", "coda"):
            _at_least(f"schedule.{name}", getattr(self, name), 1 if name == "loop" else 0)

    def draw(self, batch_size: int, *, rng: torch.Generator, **_: Any) -> int:
        depths = torch.arange(self.low, self.high + 1)
        cost = self.prelude + depths * self.loop + self.coda
        return int(depths[torch.multinomial(1 / cost, 1, generator=rng)])

    def typical(self) -> int:
        return self.high

    def largest(self) -> int:
        return self.high


@dataclass
class Poisson(LoopSchedule):
    """Poisson depths, at least one (Parcae, 2604.12946; LoopWM, 2606.18208).

    Attributes:
        mean: mean of the Poisson distribution before the lower bound of one is applied.
        per_sequence: draw one depth per sequence instead of one per step.
    """

    mean: float = 8.0
    per_sequence: bool = False

    def __post_init__(self) -> None:
        _at_least("schedule.mean", self.mean, 1)

    def draw(self, batch_size: int, *, rng: torch.Generator, **_: Any) -> int | Tensor:
        rate = torch.full((batch_size if self.per_sequence else 1,), float(self.mean))
        drawn = torch.poisson(rate, generator=rng).long().clamp(min=1)
        return drawn if self.per_sequence else int(drawn)

    def typical(self) -> int:
        return max(1, round(self.mean))

    def largest(self) -> None:
        return None


@dataclass
class LognormalPoisson(LoopSchedule):
    """A heavy-tailed depth: `tau ~ N(ln(mean) - sigma^2/2, sigma)`, `depth ~ Poisson(e^tau) + 1`.

    Source: Huginn (Geiping et al. 2025, 2502.05171, section 3.3; mean 32, sigma 0.5).

    Attributes:
        mean: mean of the Poisson rate; the mean depth is one more.
        sigma: standard deviation of the log rate.
        per_sequence: draw one depth per sequence instead of one per step.
    """

    mean: float = 32.0
    sigma: float = 0.5
    per_sequence: bool = False

    def __post_init__(self) -> None:
        _at_least("schedule.mean", self.mean, 1)
        _at_least("schedule.sigma", self.sigma, 0)

    def draw(self, batch_size: int, *, rng: torch.Generator, **_: Any) -> int | Tensor:
        count = batch_size if self.per_sequence else 1
        normal = torch.randn(count, generator=rng)
        rate = torch.exp(math.log(self.mean) - self.sigma**2 / 2 + self.sigma * normal)
        drawn = torch.poisson(rate, generator=rng).long() + 1
        return drawn if self.per_sequence else int(drawn)

    def typical(self) -> int:
        return max(1, round(self.mean))

    def largest(self) -> None:
        return None


@dataclass
class Ramp(LoopSchedule):
    """A depth that grows linearly over the first part of training, then stays.

    Attributes:
        start: depth of the first step.
        loops: depth reached, and kept, when `until` of training is done.
        until: share of training over which the depth grows, in (0, 1].
    """

    start: int = 1
    loops: int = 4
    until: float = 0.5

    def __post_init__(self) -> None:
        _at_least("schedule.start", self.start, 1)
        _at_least("schedule.loops", self.loops, self.start, name_of_least="schedule.start")
        if not 0 < self.until <= 1:
            raise ValueError(f"schedule.until must be in (0, 1], got {self.until}")

    def draw(self, batch_size: int, *, progress: float = 1.0, **_: Any) -> int:
        share = min(1.0, progress / self.until)
        return min(self.loops, self.start + int(share * (self.loops - self.start + 1)))

    def typical(self) -> int:
        return self.loops

    def largest(self) -> int:
        return self.loops


def _at_least(name: str, value: float, least: float, name_of_least: str | None = None) -> None:
    if value < least:
        bound = f"{name_of_least} ({least})" if name_of_least else f"{least}"
        raise ValueError(f"{name} must be at least {bound}, got {value}")

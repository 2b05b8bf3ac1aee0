"""How well the mean loss of an arm is known, from a few seeds each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from loopverse.exhibit import Estimate

DRAWS = 4000
"""Of all means together, behind every interval."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A number with what it may be, given the noise between seeds.

    Attributes:
        value: the estimate; infinite where no baseline gets there.
        low: lower end of the 95 % interval; None where there is one seed alone.
        high: upper end.
    """

    value: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float, draws: Float[Tensor, " n"] | None) -> "Interval":
        """The interval that holds the middle 95 % of the draws."""
        if draws is None:
            return cls(value, None, None)
        order, tail = draws.sort().values, (1 - CONFIDENCE) / 2
        last = len(order) - 1
        return cls(value, float(order[round(tail * last)]), float(order[round((1 - tail) * last)]))


@dataclass(frozen=True)
class Means:
    """The mean loss of every arm of a domain, and how well they are known together.

    Attributes:
        names: of the arms.
        values: mean over seeds, `[arms]`.
        deviation: of a single run from what its arm and its seed make likely; None with one seed.
        draws: of all means, `[draws arms]`; None with one seed.
    """

    names: list[str]
    values: Float[Tensor, " arms"]
    deviation: float | None
    draws: Float[Tensor, "n arms"] | None

    def __getitem__(self, name: str) -> tuple[float, Float[Tensor, " n"] | None]:
        """Mean and draws of an arm."""
        place = self.names.index(name)
        return float(self.values[place]), None if self.draws is None else self.draws[:, place]

    def take(self, names: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Means `[k]` and draws `[n k]` of some arms, in this order."""
        places = [self.names.index(name) for name in names]
        return self.values[places], None if self.draws is None else self.draws[:, places]

    def difference(self, one: str, other: str) -> Interval:
        """How much higher the loss of an arm is than that of another."""
        (a, some), (b, others) = self[one], self[other]
        draws = None if some is None or others is None else some - others
        return Interval.of(a - b, draws)


def means(losses: Mapping[str, Mapping[int, float]], seed: int = 0) -> Means:
    """What is known of the mean losses of arms that were trained with some seeds each.

    Loss is taken as `arm + seed + noise`, the noise normal and of one size in all arms: so a few seeds of
    many arms say together how large it is, and what a seed does to all arms alike (the same data in the
    same order) cancels wherever arms are compared. The means are drawn from what is then likely: with `s^2`
    the residual variance of `f` degrees of freedom, `mean + s sqrt(f / chi^2_f) N(0, 1/n)`. Intervals of
    differences are Student's paired ones. Plain resampling of three seeds holds the truth four times of
    five where it says nineteen of twenty.

    Args:
        losses: by arm and seed, at least one each.
        seed: of the draws.

    Raises:
        ValueError: an arm without a run, or a loss that is not a finite number.
    """
    for name, runs in losses.items():
        if not runs or not all(math.isfinite(loss) for loss in runs.values()):
            raise ValueError(
                f"arm {name!r} needs at least one run with a finite loss, got {dict(runs)}: leave it out "
                "of the comparison, or train it again"
            )
    names = list(losses)
    values = torch.tensor(
        [sum(runs.values()) / len(runs) for runs in losses.values()], dtype=torch.double
    )
    square, freedom = _residual(losses, values)
    if not freedom:
        return Means(names, values, None, None)
    rng = torch.Generator().manual_seed(seed)
    counts = torch.tensor([len(runs) for runs in losses.values()], dtype=torch.double)
    normal = torch.randn(DRAWS, len(names), generator=rng, dtype=torch.double)
    chi = torch.randn(DRAWS, freedom, generator=rng, dtype=torch.double).square().sum(1)
    deviation = math.sqrt(square / freedom)
    scale = deviation * (freedom / chi).sqrt()[:, None] / counts.sqrt()
    return Means(names, values, deviation, values + scale * normal)


def _residual(losses: Mapping[str, Mapping[int, float]], values: Tensor) -> tuple[float, int]:
    """Sum of squares of what neither arm nor seed explains, and its degrees of freedom."""
    seeds = sorted({seed for runs in losses.values() for seed in runs})
    if len(losses) > 1 and all(len(runs) == len(seeds) for runs in losses.values()):
        table = torch.tensor(
            [[runs[seed] for seed in seeds] for runs in losses.values()], dtype=torch.double
        )
        rest = table - values[:, None] - table.mean(0) + table.mean()
        return float(rest.square().sum()), (len(losses) - 1) * (len(seeds) - 1)
    square = sum(
        (loss - float(mean)) ** 2
        for runs, mean in zip(losses.values(), values, strict=True)
        for loss in runs.values()
    )
    return square, sum(len(runs) - 1 for runs in losses.values())


def as_estimate(interval: Interval) -> Estimate:
    """The same with one margin, where the interval is even enough to be told so."""
    if interval.low is None or interval.high is None:
        return Estimate(interval.value, None)
    return Estimate(interval.value, (interval.high - interval.low) / 2)

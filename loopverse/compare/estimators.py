"""What looping is worth: equivalent parameters, multiplier, exponent, gain for its cost, FLOPs to a target.

Functions of numbers alone. Losses may be in any unit, the same for all arms of a domain; lower is better.
What comes out has no unit, so that domains can stand in one table.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from loopverse.compare.uncertainty import Interval, Means

WORTH = 0.005
"""Share of the loss that twice the cost must save to be worth it."""
SURE = 0.95


@dataclass(frozen=True)
class Equivalent:
    """The size of the baseline that reaches the loss of an arm.

    Attributes:
        parameters: of that baseline; infinite where the fit is flat before it gets there.
        multiplier: the same as a multiple of the parameters that the arm stores.
        extrapolated: the arm is better than the largest baseline, or worse than the smallest, so that the
            estimate goes on with the slope at that end.
    """

    parameters: Interval
    multiplier: Interval
    extrapolated: bool


def equivalent(arm: str, own: float, baselines: Mapping[str, float], means: Means) -> Equivalent:
    """How large a baseline is as good as an arm.

    Args:
        arm: its name.
        own: parameters that it stores.
        baselines: parameters by name of the arm, at least two sizes.
        means: of all of these.

    Raises:
        ValueError: fewer than two sizes of the baseline.
    """
    names = sorted(baselines, key=lambda name: baselines[name])
    sizes = torch.tensor([baselines[name] for name in names], dtype=torch.double)
    if len(sizes.unique()) < 2 or len(sizes.unique()) < len(sizes):
        raise ValueError(
            f"equivalent parameters need baselines of at least two sizes, each once, got {dict(baselines)}"
        )
    fitted, drawn = means.take(names)
    target, targets = means[arm]
    logs = sizes.log()
    size = float(_size_for(_falling(fitted[None]), torch.tensor([target]).double(), logs)[0].exp())
    draws = None
    if drawn is not None and targets is not None:
        draws = _size_for(_falling(drawn), targets, logs).exp()
    inside = float(sizes[0]) <= size <= float(sizes[-1])
    return Equivalent(
        Interval.of(size, draws),
        Interval.of(size / own, None if draws is None else draws / own),
        not inside,
    )


def exponent(
    once: float,
    looped: float,
    arms: Mapping[int, str],
    baselines: Mapping[str, float],
    means: Means,
) -> Interval:
    """The `phi` with which `r` loops stand for `once + r^phi looped` parameters (2604.21106, eq. 1).

    It is fitted to all numbers of loops by least squares, in logarithms: 0 means that loops are worth
    nothing, 1 that a loop is worth a layer of its own.

    Args:
        once: parameters outside of the loop.
        looped: those in it.
        arms: name by number of loops, above 1 each.
        baselines: parameters by name of the arm.
        means: of all of these.
    """
    logs = {loops: math.log(loops) for loops in arms}
    found = {loops: equivalent(name, 1.0, baselines, means) for loops, name in arms.items()}

    def fit(sizes: Mapping[int, Tensor]) -> Tensor:
        worth = {
            loops: ((size - once).clamp(min=1e-9) / looped).log() for loops, size in sizes.items()
        }
        whole = sum(log**2 for log in logs.values())
        return torch.stack([logs[loops] * one for loops, one in worth.items()]).sum(0) / whole

    point = fit({r: torch.tensor(one.parameters.value) for r, one in found.items()})
    draws = _drawn_sizes(arms, baselines, means)
    return Interval.of(float(point), None if draws is None else fit(draws))


@dataclass(frozen=True)
class Stop:
    """Where more loops stop being worth their cost.

    Attributes:
        loops: the best number, as far as it can be told.
        sure: whether it is told that more are not worth it; if not, more seeds are needed.
        hurts: numbers of loops above it at which the loss is surely higher than at it.
        steps: chance that going on from one number of loops to the next is worth it, by the next.
    """

    loops: int
    sure: bool
    hurts: list[int]
    steps: dict[int, float]


def gain_stops(
    arms: Mapping[int, str], costs: Mapping[int, float], means: Means, worth: float = WORTH
) -> Stop | None:
    """Where more loops stop being worth their cost; None with one seed.

    A step from one number of loops to the next is worth it if it lowers the loss by a share `worth` of it for
    each doubling of the cost.

    Args:
        arms: name by number of loops.
        costs: FLOPs by number of loops.
        means: of all arms.
        worth: the share.
    """
    numbers = sorted(arms)
    if means.draws is None:
        return None
    drawn = {loops: means[arms[loops]][1] for loops in numbers}
    chances: dict[int, float] = {}
    for few, more in pairwise(numbers):
        a, b = drawn[few], drawn[more]
        assert a is not None
        assert b is not None
        price = worth * means[arms[few]][0] * math.log2(costs[more] / costs[few])
        chances[more] = float((a - b >= abs(price)).double().mean())
    best = numbers[0]
    for more in numbers[1:]:
        if chances[more] < SURE:
            break
        best = more
    rest = [loops for loops in numbers if loops > best]
    hurts = [loops for loops in rest if _surely(means, arms[loops], arms[best])]
    return Stop(best, not rest or chances[rest[0]] <= 1 - SURE, hurts, chances)


def verdict(means: Means, one: str, other: str) -> str:
    """Whether an arm is "better" or "worse" than another, or the difference is "not told"."""
    difference = means.difference(one, other)
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return "not told"
    return "better" if difference.high < 0 else "worse"


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names of the points (cost, loss) that no other one beats in both, by cost."""
    front: list[str] = []
    best = math.inf
    for name in sorted(points, key=lambda name: points[name]):
        if points[name][1] < best:
            best = points[name][1]
            front.append(name)
    return front


def cost_to_target(curve: Sequence[tuple[float, float]], target: float) -> float:
    """What a run had cost when its loss first was as low as that; infinite where it never was.

    Args:
        curve: cost so far and loss, in order of the cost; straight lines between them.
        target: the loss.
    """
    if curve and curve[0][1] <= target:
        return curve[0][0]
    for (cost, loss), (later, lower) in pairwise(curve):
        if lower <= target:
            return cost + (later - cost) * (loss - target) / (loss - lower)
    return math.inf


def _surely(means: Means, higher: str, lower: str) -> bool:
    low = means.difference(higher, lower).low
    return low is not None and low > 0


def _drawn_sizes(
    arms: Mapping[int, str], baselines: Mapping[str, float], means: Means
) -> dict[int, Tensor] | None:
    names = sorted(baselines, key=lambda name: baselines[name])
    _, drawn = means.take(names)
    if drawn is None:
        return None
    logs, fitted = torch.tensor([baselines[n] for n in names]).double().log(), _falling(drawn)
    found: dict[int, Tensor] = {}
    for loops, name in arms.items():
        targets = means[name][1]
        assert targets is not None
        found[loops] = _size_for(fitted, targets, logs).exp()
    return found


def _falling(values: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """The nearest values, in squares, that never rise from left to right (isotonic regression).

    By the min-max formula (Barlow et al. 1972, Statistical Inference under Order Restrictions, eq. 1.9).
    """
    count = values.shape[1]
    sums = torch.cat([torch.zeros_like(values[:, :1]), values.cumsum(1)], 1)
    start, stop = torch.arange(count)[:, None], torch.arange(count)[None, :]
    means = (sums[:, None, 1:] - sums[:, :-1, None]) / (stop - start + 1).clamp(min=1)
    fitted = []
    for place in range(count):
        blocks = means[:, : place + 1, place:]  # from where, up to where
        fitted.append(blocks.amin(1).amax(1))
    return torch.stack(fitted, 1)


def _size_for(
    fitted: Float[Tensor, "n k"], targets: Float[Tensor, " n"], logs: Float[Tensor, " k"]
) -> Float[Tensor, " n"]:
    """Logarithm of the size at which a falling fit reaches each target, by straight lines.

    Beyond the ends they go on with the slope there; where that is zero, they never get there.
    """
    reached = fitted <= targets[:, None]
    right = torch.where(reached.any(1), reached.long().argmax(1), len(logs) - 1).clamp(min=1)
    left = right - 1
    high, low = (fitted.gather(1, at[:, None]).squeeze(1) for at in (left, right))
    share = (high - targets) / (
        high - low
    )  # over one: past the largest; below zero: before the smallest
    found = logs[left] + share * (logs[right] - logs[left])
    flat = high <= low
    never = torch.where(
        targets < low, torch.inf, torch.where(targets > high, -torch.inf, logs[left])
    )
    return torch.where(flat, never, found)

"""How loops go with difficulty: rank correlation, mean loops by difficulty, how loops are distributed.

Functions of numbers alone. Loops and difficulty are given batch by batch, one of each per unit that
counts, so that every figure has an interval over batches. A difficulty that is not a number is one that
the unit does not have.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from loopverse.analysis.statistics import Estimate, estimate

GROUPS = 10
"""Groups of units, from the easiest to the hardest."""
COLLAPSED = 0.95
"""Share of the units at one depth from which on a rule is as good as a fixed depth."""


@dataclass(frozen=True)
class Group:
    """Units of about the same difficulty.

    Attributes:
        percentile: where they stand among all units, in percent: those below and half of the group.
        loops: that they got, on average.
    """

    percentile: float
    loops: Estimate


@dataclass(frozen=True)
class Relation:
    """How the loops that units got go with one kind of difficulty.

    Attributes:
        correlation: Spearman's, the mean over batches; None where it is defined in none of them.
        num_batches: in how many it is defined: neither loops nor difficulty are all the same.
        groups: from easy to hard; fewer than `GROUPS` where many units are equally difficult.
    """

    correlation: Estimate | None
    num_batches: int
    groups: list[Group]


@dataclass(frozen=True)
class Distribution:
    """How many units got how many loops.

    Attributes:
        shares: of the units, by number of loops; they add up to one.
        mean: loops of a unit.
    """

    shares: dict[int, float]
    mean: Estimate

    @property
    def entropy(self) -> float:
        """Of the number of loops, in bits: 0 where all units get as many."""
        return sum(-share * math.log2(share) for share in self.shares.values() if share > 0)

    @property
    def usual(self) -> int:
        """The most frequent number of loops."""
        return max(self.shares, key=lambda loops: self.shares[loops])

    @property
    def collapsed(self) -> bool:
        """Whether nearly all units get the same number of loops."""
        return self.shares[self.usual] > COLLAPSED


@dataclass(frozen=True)
class Spent:
    """Where the loops went under one rule.

    Attributes:
        loops: how they are distributed over units.
        relations: how they go with each kind of difficulty, by its name.
    """

    loops: Distribution
    relations: dict[str, Relation]


def distribution(loops: Sequence[Tensor]) -> Distribution:
    """How loops are distributed over the units of some batches.

    Raises:
        ValueError: there is no unit.
    """
    loops = [one for one in loops if len(one)]
    if not loops:
        raise ValueError("the distribution of loops needs units that count, got none")
    numbers, counts = torch.cat(list(loops)).unique(return_counts=True)
    shares = (counts.double() / counts.sum()).tolist()
    means = [float(one.double().mean()) for one in loops]
    return Distribution(
        dict(zip(map(int, numbers.tolist()), shares, strict=True)),
        estimate(means, [len(one) for one in loops]),
    )


def relation(loops: Sequence[Tensor], difficulty: Sequence[Tensor]) -> Relation:
    """How loops go with difficulty, over batches.

    Args:
        loops: of the units of each batch, `[n]`.
        difficulty: of the same units; the larger the harder.
    """
    known = [~harder.isnan() for harder in difficulty]
    loops = [one[these] for one, these in zip(loops, known, strict=True)]
    difficulty = [one[these] for one, these in zip(difficulty, known, strict=True)]
    found = [
        (value, len(used))
        for used, hard in zip(loops, difficulty, strict=True)
        if (value := rank_correlation(used, hard)) is not None
    ]
    values, weights = [value for value, _ in found], [size for _, size in found]
    return Relation(
        estimate(values, weights) if found else None, len(found), _groups(loops, difficulty)
    )


def rank_correlation(one: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> float | None:
    """Spearman's rank correlation, ties sharing their mean rank; None where either is constant.

    That is Pearson's correlation of the ranks (Spearman 1904), which stays right where there are ties.
    """
    a, b = ranks(one), ranks(other)
    if len(a) < 2 or bool((a == a[0]).all()) or bool((b == b[0]).all()):
        return None
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def ranks(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Ranks from 1; equal values share the mean of theirs."""
    if not len(values):
        return values.double()
    _, which, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[which]


def _groups(loops: Sequence[Tensor], difficulty: Sequence[Tensor]) -> list[Group]:
    """Mean loops by difficulty; the groups are those of all batches together."""
    place = (ranks(torch.cat(list(difficulty))) - 0.5) / max(1, sum(map(len, difficulty)))
    number = (place * GROUPS).long()
    sizes = [len(one) for one in difficulty]
    batches = list(zip(loops, number.split(sizes), strict=True))
    found: list[Group] = []
    for group in number.unique().tolist():
        members = [used[these == group].double() for used, these in batches]
        members = [used for used in members if len(used)]
        mean = estimate([float(used.mean()) for used in members], [len(used) for used in members])
        found.append(Group(100 * float(place[number == group].mean()), mean))
    return found

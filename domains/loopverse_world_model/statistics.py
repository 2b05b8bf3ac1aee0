"""What the data say of themselves: means, spreads, and how far things move in so many steps."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

FEW = 8
"""Pairs below which a spread is not estimated but taken over from a shorter time."""
SMALL = 1e-6
"""A spread below which something counts as constant, and is then left as it is."""


@dataclass
class Spread:
    """How some numbers are distributed.

    Attributes:
        mean: of each, `[n]`.
        std: standard deviation of each, 1 where it never changes, `[n]`.
        low: the smallest seen, `[n]`.
        high: the largest seen, `[n]`.
    """

    mean: Float[Tensor, " n"]
    std: Float[Tensor, " n"]
    low: Float[Tensor, " n"]
    high: Float[Tensor, " n"]


def spread(values: Float[Tensor, "m n"]) -> Spread:
    """Mean, spread and range of the columns, in double precision on the way."""
    values = values.double()
    std = _not_zero(values.std(0, correction=0))
    return Spread(values.mean(0).float(), std, values.amin(0).float(), values.amax(0).float())


def fading(
    values: Float[Tensor, "m n"], episode: Int[Tensor, " m"], horizon: int
) -> tuple[Float[Tensor, "horizon n"], Float[Tensor, "horizon n"]]:
    """What a number has to do with itself 1, 2, ..., `horizon` steps later, within episodes.

    The best linear guess of what a number will be is `mean + kept (number - mean)`, and it misses by
    `missed`, root mean square. At first `kept` is about 1 and the guess is that nothing changes; it fades as
    the number moves on. A network that predicts the rest in units of `missed` predicts numbers of about
    one whatever the number of steps: what moves little in one step and far in twenty is as well
    resolved at both. Where no episode is so long, the last figures that there are enough pairs for go on.

    Returns:
        `kept`, from 0 to 1, and `missed`.
    """
    values = values.double() - values.double().mean(0)
    kept: list[Tensor] = []
    missed: list[Tensor] = []
    for steps in range(1, horizon + 1):
        same = episode[steps:] == episode[:-steps] if steps < len(values) else episode[:0].bool()
        if int(same.sum()) < FEW and kept:
            kept.append(kept[-1])
            missed.append(missed[-1])
            continue
        before, after = values[: len(same)][same], values[steps:][same]
        share = (before * after).sum(0) / before.square().sum(0).clamp(min=SMALL**2)
        kept.append(share.clamp(0, 1))
        rest = (after - kept[-1] * before).square().sum(0) / max(1, len(before))
        missed.append(_not_zero(rest.sqrt()))
    return torch.stack(kept).float(), torch.stack(missed)


def _not_zero(scale: Tensor) -> Tensor:
    return torch.where(scale > SMALL, scale, torch.ones_like(scale)).float()

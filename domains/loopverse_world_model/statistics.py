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


def change_scales(
    values: Float[Tensor, "m n"], episode: Int[Tensor, " m"], horizon: int
) -> Float[Tensor, "horizon n"]:
    """Root mean square of the change over 1, 2, ..., `horizon` steps, within episodes.

    A network that predicts the change in these units predicts numbers of about one whatever the number of
    steps: what moves little in one step and far in twenty is as well resolved at both. Where no episode
    is so long, the last scale that there are enough pairs for goes on.
    """
    values = values.double()
    scales: list[Tensor] = []
    for steps in range(1, horizon + 1):
        same = episode[steps:] == episode[:-steps] if steps < len(values) else episode[:0].bool()
        if int(same.sum()) < FEW and scales:
            scales.append(scales[-1])
            continue
        moved = (values[steps:] - values[:-steps])[same]
        if len(moved) == 0:
            moved = torch.zeros(1, values.shape[1], dtype=values.dtype)
        scales.append(_not_zero(moved.square().mean(0).sqrt()))
    return torch.stack(scales)


def _not_zero(scale: Tensor) -> Tensor:
    return torch.where(scale > SMALL, scale, torch.ones_like(scale)).float()

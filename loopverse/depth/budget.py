"""Budgets: how the loops of many calls are shared out over a domain's outer process.

Denoising asks the core again and again, and not all of its steps need the same depth. A budget takes
the mean number of loops and where the outer process stands, and says how deep to go there.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from loopverse.errors import UserError


@dataclass
class LoopBudget:
    """Shares loops out over an outer process. Subclasses are what `budget=NAME` chooses from."""

    def share(self, outer: Tensor) -> Tensor:
        """What a place in the outer process gets of the mean; 1 on average over [0, 1].

        Args:
            outer: places, each in [0, 1]: 0 where the process begins, 1 where it ends.
        """
        raise NotImplementedError

    def loops(self, mean: int, outer: Tensor) -> Tensor:
        """The depth at each place, at least 1: `round(mean * share)`.

        Args:
            mean: loops of a call on average.
            outer: places, of any shape.
        """
        return (mean * self.share(outer.double())).round().long().clamp(min=1)

    def largest(self, mean: int) -> int:
        """The deepest call."""
        return int(self.loops(mean, torch.linspace(0, 1, 1001)).max())


@dataclass
class Even(LoopBudget):
    """Every call gets the mean."""

    def share(self, outer: Tensor) -> Tensor:
        return torch.ones_like(outer)


@dataclass
class _Shaped(LoopBudget):
    """A budget with a slope.

    Attributes:
        strength: from 0 (even) to 1 (nothing is left at the low end, twice the mean at the high one).
    """

    strength: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UserError(f"budget.strength must be in [0, 1], got {self.strength}")


@dataclass
class Decreasing(_Shaped):
    """Deep at the beginning, shallow at the end (FP-MGM, 2605.31215: the best of its three)."""

    def share(self, outer: Tensor) -> Tensor:
        return 1 + self.strength * (1 - 2 * outer)


@dataclass
class Increasing(_Shaped):
    """Shallow at the beginning, deep at the end."""

    def share(self, outer: Tensor) -> Tensor:
        return 1 - self.strength * (1 - 2 * outer)


@dataclass
class Peaked(_Shaped):
    """Deep in the middle, where looping gains most (LoopMDM, 2605.26106)."""

    def share(self, outer: Tensor) -> Tensor:
        return 1 + self.strength * (1 - 4 * (outer - 0.5).abs())


@dataclass
class Table(LoopBudget):
    """Depths written down: the outer process is cut into as many equal parts; the mean is not asked.

    Attributes:
        table: loops of each part, from the beginning to the end.
    """

    table: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.table or min(self.table) < 1:
            raise UserError(
                f"budget.table must list at least one number of loops, each at least 1, got {self.table}"
            )

    def loops(self, mean: int, outer: Tensor) -> Tensor:
        depths = torch.tensor(self.table, device=outer.device)
        part = (outer.double() * len(depths)).long().clamp(max=len(depths) - 1)
        return depths[part]

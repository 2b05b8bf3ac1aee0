"""Which loops a training loss looks at, and how much each of them counts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn


@dataclass
class Lesson:
    """A loss that is no weighted sum of those of the loops, worked out once they are known.

    Attributes:
        logits: of the halting head after each supervised loop, `[loops b t]`.
        loss: makes one per unit, `[b t]`, of the losses after each loop and the logits, `[loops b t]` both.
    """

    logits: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]


@dataclass
class LoopObjective:
    """Weighs the losses of the loops. Subclasses are the options of the group `objective`."""

    every_loop: ClassVar[bool] = False
    """Whether the loss is computed after every loop, not only after the last."""
    trains: ClassVar[type[nn.Module] | None] = None
    """The kind of halting head that learns from it; None: no rule learns from it."""
    freezes_model: ClassVar[bool] = False
    """Whether the head alone learns, in a model that was trained before."""

    def weights(
        self, states: list[Tensor], head: nn.Module | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """How much each supervised loop counts.

        Args:
            states: the state `[b t d]` after each supervised loop.
            head: the trained part of a learned halting rule.

        Returns:
            Weights `[loops b t]` that sum to one over the loops (None: only one loop, weight one),
            and a loss to add per unit `[b t]` (None: nothing).
        """
        raise NotImplementedError

    def lesson(self, states: list[Tensor], head: nn.Module | None) -> Lesson | None:
        """What is learned from the losses themselves, in place of their weighted sum; None: that sum.

        The arguments are those of `weights`.
        """
        return None


@dataclass
class Final(LoopObjective):
    """Only the last loop is supervised."""

    def weights(self, states: list[Tensor], head: nn.Module | None) -> tuple[None, None]:
        return None, None


@dataclass
class Every(LoopObjective):
    """Every loop is supervised, all alike."""

    every_loop: ClassVar[bool] = True

    def weights(self, states: list[Tensor], head: nn.Module | None) -> tuple[Tensor, None]:
        return alike(states), None


def alike(states: list[Tensor]) -> Tensor:
    """The same weight for every loop, `[loops b t]`."""
    count = len(states)
    return states[0].new_full((count, *states[0].shape[:2]), 1 / count)


def not_negative(name: str, value: float) -> None:
    """Refuse a setting below 0."""
    if value < 0:
        raise ValueError(f"objective.{name} must be at least 0, got {value}")

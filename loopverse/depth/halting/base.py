"""What every halting rule is: settings, and a decision after each loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution


@dataclass(eq=False)
class Active:
    """The units that a step computes.

    Attributes:
        rows: positions in the batch of the rows at hand, `[n]`.
    """

    rows: Tensor


Read = Callable[[Tensor], Distribution]
"""Turns a state `[n t d]` into the domain's predictive distribution `[n t]`."""
ReadActive = Callable[[Tensor, Active | None], Distribution]
"""The same, told which rows of the batch these are; None means all, in order."""
Memory = dict[str, Tensor]
"""What a rule remembers between loops: tensors whose first two axes are the units, `[n t ...]`."""


@dataclass
class Halting:
    """When to stop. Subclasses are group `halting`; they hold settings, never the last batch.

    A rule is a function of what it remembers and of the state before and after a loop. Units may leave
    between loops: then all three lose the same entries of their first two axes.
    """

    adaptive: ClassVar[bool] = False
    """Whether `update` must be called after every loop. Only adaptive rules wait for the device."""
    learned: ClassVar[bool] = False
    """Whether the rule reads a trained head."""
    reads: ClassVar[bool] = False
    """Whether the rule looks at predictions, and cannot work where there is no `read`."""
    per_unit: ClassVar[bool] = True
    """Whether units stop independently of each other: any of them may then be shown alone, in any order."""
    competes: ClassVar[bool] = False
    """Whether the units of a sequence compete for loops, later ones too: not for causal models."""
    damping = 0.0  # without a type, or a dataclass would take it for a setting of every rule
    """How much of the old state is kept in every loop: `z_i <- (1 - damping) z_i + damping z_{i-1}`."""

    def head(self, width: int) -> nn.Module | None:
        """The rule's trained part, a function of states `[b t d]`, owned by the model.

        Args:
            width: channels `d` of the state.
        """
        return None

    def begin(self, z: Tensor) -> Memory:
        """What to remember before the first loop, from the initial state `z [b t d]`."""
        return {}

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        """Look at loop `i` and say which units stop.

        Args:
            memory: what the last call, or `begin`, returned.
            before: state before the loop, `[n t d]` for the `n` rows still in it.
            after: state after the loop, same shape; where the rule damps, after that.
            i: index of the loop, from 0.
            read: turns a state into the domain's predictive distribution `[n t]`.
            head: what `head()` built, trained.

        Returns:
            The new memory and a boolean tensor `[n t]`, true where the unit stops now.

        Raises:
            ValueError: a prediction or a head that the rule cannot work with.
        """
        raise NotImplementedError


@dataclass
class FixedDepth(Halting):
    """Never stops early: every unit gets the plan's depth."""


def no_unit(z: Tensor) -> Tensor:
    """False for each unit of a state `[n t d]`."""
    return torch.zeros(z.shape[:2], dtype=torch.bool, device=z.device)

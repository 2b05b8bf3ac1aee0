"""Which loops a training loss looks at, and how much each of them counts."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class LoopObjective:
    """Weighs the losses of the loops. Subclasses are the options of the group `objective`."""

    every_loop: ClassVar[bool] = False
    """Whether the loss is computed after every loop, not only after the last."""
    needs_head: ClassVar[bool] = False
    """Whether the weights come from a learned halting rule."""

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
        count = len(states)
        return states[0].new_full((count, *states[0].shape[:2]), 1 / count), None


@dataclass
class Expected(LoopObjective):
    """The expected loss under the learned exit distribution, with an entropy bonus.

    `sum_i p(i) L_i - beta H(p)`, `p(i) = lambda_i prod_{j<i} (1 - lambda_j)`; the last loop takes
    what is left. Source: Ouro (2510.25741, stage I, eq. 4), beta 0.1 falling to 0.05 there.

    Attributes:
        beta: weight of the entropy; it keeps the gate from collapsing to one depth.
    """

    beta: float = 0.05
    every_loop: ClassVar[bool] = True
    needs_head: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ValueError(f"objective.beta must be at least 0, got {self.beta}")

    def weights(self, states: list[Tensor], head: nn.Module | None) -> tuple[Tensor, Tensor]:
        assert head is not None  # LoopedModel refuses this objective without a learned rule
        logits = torch.stack([head(z).float() for z in states])  # [loops b t]
        log_stop = F.logsigmoid(logits)
        log_stop = torch.cat([log_stop[:-1], torch.zeros_like(log_stop[:1])])
        log_go_on = F.logsigmoid(-logits[:-1]).cumsum(0)
        log_reach = torch.cat([torch.zeros_like(log_stop[:1]), log_go_on])
        log_exit = log_reach + log_stop
        exit_probability = log_exit.exp()
        entropy = -(exit_probability * log_exit).sum(0)
        return exit_probability, -self.beta * entropy

"""Objectives that train a gate: the probability of stopping after each loop."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loopverse.depth.halting import ExitHead
from loopverse.depth.objective.base import Lesson, LoopObjective, alike, not_negative


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
    trains: ClassVar[type[nn.Module] | None] = ExitHead

    def __post_init__(self) -> None:
        not_negative("beta", self.beta)

    def weights(self, states: list[Tensor], head: nn.Module | None) -> tuple[Tensor, Tensor]:
        log_exit = log_exit_of(head_logits(states, head))
        exit_probability = log_exit.exp()
        entropy = -(exit_probability * log_exit).sum(0)
        return exit_probability, -self.beta * entropy


@dataclass
class Pondered(LoopObjective):
    """The expected loss under the learned exit distribution, which a prior on the depth holds.

    `sum_i p(i) L_i + beta KL(p || g)`, `p` as in `expected`, `g(i)` in proportion to
    `prior (1 - prior)^i` and cut off after the last loop. Source: PonderNet (2107.05407, section 2.3).

    Attributes:
        beta: weight of the divergence.
        prior: chance of stopping after each loop, in (0, 1): about `1 / prior` loops on average.
    """

    beta: float = 0.01
    prior: float = 0.2
    every_loop: ClassVar[bool] = True
    trains: ClassVar[type[nn.Module] | None] = ExitHead

    def __post_init__(self) -> None:
        not_negative("beta", self.beta)
        if not 0 < self.prior < 1:
            raise ValueError(f"objective.prior must be in (0, 1), got {self.prior}")

    def weights(self, states: list[Tensor], head: nn.Module | None) -> tuple[Tensor, Tensor]:
        log_exit = log_exit_of(head_logits(states, head))
        exit_probability = log_exit.exp()
        loops = torch.arange(len(states), device=log_exit.device, dtype=log_exit.dtype)
        log_prior = torch.log_softmax(loops * math.log1p(-self.prior), dim=0)[:, None, None]
        divergence = (exit_probability * (log_exit - log_prior)).sum(0)
        return exit_probability, self.beta * divergence


@dataclass
class GateDistillation(LoopObjective):
    """The gate learns, from a frozen model, whether a loop was worth it; the loss is that of the gate.

    After loop `i` (from the second on) the gate should go on with the probability
    `w_i = sigmoid(sharpness (max(0, L_{i-1} - L_i) - least_gain))`; the loss is the binary cross-entropy
    of `1 - lambda_i` with that, averaged over loops. Where there is one loop there is nothing to learn.
    Source: Ouro (2510.25741, stage II; 50 and 0.005 there). The gate is that of stage I, so start from such
    a run: `training.start_from=RUN`.

    Attributes:
        sharpness: how abruptly the target goes from stopping to going on.
        least_gain: nats that a loop must have brought for the target to be one half.
    """

    sharpness: float = 50.0
    least_gain: float = 0.005
    every_loop: ClassVar[bool] = True
    trains: ClassVar[type[nn.Module] | None] = ExitHead
    freezes_model: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.sharpness <= 0:
            raise ValueError(f"objective.sharpness must be above 0, got {self.sharpness}")
        not_negative("least_gain", self.least_gain)

    def weights(self, states: list[Tensor], head: nn.Module | None) -> tuple[Tensor, None]:
        return alike(states), None

    def lesson(self, states: list[Tensor], head: nn.Module | None) -> Lesson:
        return Lesson(head_logits([z.detach() for z in states], head), self.agreement)

    def target(self, losses: Tensor) -> Tensor:
        """The probability of going on after each loop but the first, `[loops-1 b t]`, in [0, 1].

        Args:
            losses: in nats, after each loop, `[loops b t]`.
        """
        gain = (losses[:-1] - losses[1:]).clamp(min=0)
        return torch.sigmoid(self.sharpness * (gain - self.least_gain)).detach()

    def agreement(self, losses: Tensor, logits: Tensor) -> Tensor:
        """The binary cross-entropy, in nats per unit `[b t]`.

        Args:
            losses: after each loop, `[loops b t]`.
            logits: of stopping after each loop, `[loops b t]`.
        """
        if len(losses) == 1:
            return 0.0 * logits[0]
        target = self.target(losses.float())
        return F.binary_cross_entropy_with_logits(-logits[1:], target, reduction="none").mean(0)


def head_logits(states: list[Tensor], head: nn.Module | None) -> Tensor:
    """Of stopping after each loop, `[loops b t]`."""
    assert head is not None  # LoopedModel refuses these objectives without a learned rule
    return torch.stack([head(z).float() for z in states])


def log_exit_of(logits: Tensor) -> Tensor:
    """`log p(i)` for gates of these logits, `[loops b t]`; the last loop takes what is left."""
    log_stop = F.logsigmoid(logits)
    log_stop = torch.cat([log_stop[:-1], torch.zeros_like(log_stop[:1])])
    log_go_on = F.logsigmoid(-logits[:-1]).cumsum(0)
    log_reach = torch.cat([torch.zeros_like(log_stop[:1]), log_go_on])
    return log_reach + log_stop

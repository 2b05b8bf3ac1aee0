"""Objectives that train the routers of Mixture-of-Recursions."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loopverse.depth.halting import DepthHead, ExitHead, chosen
from loopverse.depth.objective.base import LoopObjective, not_negative
from loopverse.depth.objective.gate import head_logits, log_exit_of


@dataclass
class ExpertRouting(LoopObjective):
    """The expected loss under the gate, which learns to let an ever smaller share of a sequence go on.

    `sum_i p(i) L_i + alpha BCE(1 - lambda_i, chosen_i)`, `p` as in `expected`; after loop `i` of `n` those
    are chosen that the gate lets go on most, a share `(n - 1 - i) / n` of a sequence, among those chosen
    before. So that a gate that is open says what the choice among a whole sequence would say.
    Source: Mixture-of-Recursions (2507.10524, expert choice with the auxiliary loss).

    Attributes:
        alpha: weight of the cross-entropy.
    """

    alpha: float = 0.1
    every_loop: ClassVar[bool] = True
    trains: ClassVar[type[nn.Module] | None] = ExitHead

    def __post_init__(self) -> None:
        not_negative("alpha", self.alpha)

    def weights(self, states: list[Tensor], head: nn.Module | None) -> tuple[Tensor, Tensor]:
        logits = head_logits(states, head)
        active = torch.ones(logits.shape[1:], dtype=torch.bool, device=logits.device)
        disagreement = torch.zeros_like(logits[0])
        for i, logit in enumerate(logits[:-1]):
            goes_on = chosen(-logit.detach(), active, i, len(logits))
            missed = F.binary_cross_entropy_with_logits(-logit, goes_on.float(), reduction="none")
            disagreement = disagreement + missed * active / len(logits)
            active = goes_on
        return log_exit_of(logits).exp(), self.alpha * disagreement


@dataclass
class TokenRouting(LoopObjective):
    """The expected loss under the depth that each unit chooses, with a balance of the choices.

    `sum_i p(i) L_i + balance n sum_i f_i P_i`: `p` the softmax of the router after the first loop, `n` the
    number of loops, `f_i` the share of the batch's units whose largest `p` is `i`, `P_i` their mean `p(i)`.
    The balance is least, one, where all depths are chosen equally often. Source: Mixture-of-Recursions
    (2507.10524, token choice), with the loss of Switch Transformers (2101.03961, eq. 4).

    Attributes:
        balance: weight of the balance.
    """

    balance: float = 0.1
    every_loop: ClassVar[bool] = True
    trains: ClassVar[type[nn.Module] | None] = DepthHead

    def __post_init__(self) -> None:
        not_negative("balance", self.balance)

    def weights(self, states: list[Tensor], head: nn.Module | None) -> tuple[Tensor, Tensor]:
        assert head is not None  # LoopedModel refuses this objective without a learned rule
        choice = head(states[0]).float().softmax(-1)  # [b t loops]
        count = choice.shape[-1]
        if count != len(states):
            raise ValueError(
                f"a router among {count} depths needs {count} loops in training, got {len(states)}: "
                f"set halting.loops={len(states)}, and schedule=constant"
            )
        largest = F.one_hot(choice.argmax(-1), count).float()
        balance = count * (largest.mean((0, 1)) * choice.mean((0, 1))).sum()
        return choice.movedim(-1, 0), (self.balance * balance).expand(choice.shape[:2])

"""Rules that read a learned gate: the probability of stopping after each loop."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from loopverse.depth.halting.base import Halting, Knob, Memory, Read


class ExitHead(nn.Module):
    """A linear gate on the state: `[b t d] -> logits [b t]` of stopping after this loop."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).squeeze(-1)


@dataclass
class Gated(Halting):
    """A rule that reads an `ExitHead`. All such rules can use what any objective for gates has trained."""

    adaptive: ClassVar[bool] = True
    mixes_loops: ClassVar[bool] = True
    learned: ClassVar[bool] = True

    def head(self, width: int) -> nn.Module:
        return ExitHead(width)

    def logits(self, head: nn.Module | None, z: Tensor) -> Tensor:
        """Of stopping after this loop, `[n t]`, for a state `[n t d]`.

        Raises:
            ValueError: the model was trained with another kind of rule.
        """
        assert head is not None  # LoopPlan refuses a learned rule without its head
        return trained(self, head, ExitHead, "exit_gate")(z).float()


@dataclass
class ExitGate(Gated):
    """Stops a unit when its learned exit probability has accumulated to `threshold`.

    `lambda_i = sigmoid(head(z_i))`, `p(i) = lambda_i prod_{j<i} (1 - lambda_j)`; stop when the sum
    of `p` reaches the threshold. Trained by `objective=expected`, then, on a model that is frozen, by
    `objective=gate_distillation`. Source: Ouro (2510.25741, section 3).

    Attributes:
        threshold: cumulative exit probability, in (0, 1], at which a unit stops.
    """

    threshold: float = 0.5
    knob: ClassVar[Knob | None] = Knob("threshold", "lower")

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"halting.threshold must be in (0, 1], got {self.threshold}")

    def begin(self, z: Tensor) -> Memory:
        return {"going_on": torch.ones(z.shape[:2], device=z.device)}

    def signal(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        going_on = memory["going_on"] * torch.sigmoid(-self.logits(head, after))
        return {"going_on": going_on}, 1 - going_on

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        memory, stopped = self.signal(memory, before, after, i, read, head)
        return memory, stopped >= self.threshold


@dataclass
class Ponder(ExitGate):
    """The exit gate, trained by `objective=ponder`: a prior says how deep units go on average.

    PonderNet draws the loop to stop at; here a unit stops at a quantile of that distribution, the median
    by default. A draw would be another one in another batch, and a unit would not get the same depth
    alone. Source: Banino et al. 2021 (2107.05407).
    """


def trained(rule: Halting, head: nn.Module, kind: type[nn.Module], option: str) -> nn.Module:
    """The head, if it is the one that a rule reads.

    Raises:
        ValueError: it was trained for another rule.
    """
    if not isinstance(head, kind):
        raise ValueError(
            f"halting {type(rule).__name__} reads a trained {kind.__name__} and this model has a "
            f"{type(head).__name__}: use the rule it was trained with, or train with halting={option}"
        )
    return head

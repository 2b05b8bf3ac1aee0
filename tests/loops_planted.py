"""Models whose loops do what was planted: the loop of a small core, replaced by a function."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from toy import Toy, ToyConfig

from loopverse.depth import Halting, LoopObjective
from loopverse.domain import Outcome
from loopverse.model import LoopedModel
from loopverse.nn import Add, CoreConfig, Zeros

WIDTH = 16
Loop = Callable[[Tensor, Tensor, int], Tensor]


class Bits(Toy):
    """The bit that was just read; the first channel of the state says which."""

    def __init__(self, config: ToyConfig, width: int) -> None:
        super().__init__(config, width)
        with torch.no_grad():
            self.bits.weight.copy_(torch.eye(width)[:1] * torch.tensor([[-1.0], [1.0]]))
            self.head.weight.copy_(torch.eye(width)[:1] * torch.tensor([[-3.0], [3.0]]))

    def correct(self, outcome: Outcome, batch: Any) -> Tensor:
        assert outcome.prediction is not None
        return outcome.prediction.mode == batch["bits"]


class Planted(nn.Module):
    """A loop that is a function of the state, the input and its own number."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop
        self.weight = nn.Parameter(torch.ones(()))

    def ready(self) -> "Planted":
        return self

    def forward(self, z: Tensor, e: Tensor, context: object, loop: int = 0) -> Tensor:
        return self._loop(z, e, loop) * self.weight + 0 * z


def planted(
    loop: Loop, halting: Halting | None = None, objective: LoopObjective | None = None
) -> LoopedModel:
    """A model of bits with this loop and nothing before or behind it."""
    torch.manual_seed(0)
    core = CoreConfig(
        width=WIDTH,
        num_heads=1,
        num_prelude=0,
        num_coda=0,
        loops=4,
        injection=Add(),
        init=Zeros(),
        output_norm=False,
    )
    model = LoopedModel(Bits(ToyConfig(lag=0), WIDTH), core, halting, objective)
    model.core.bodies[0] = Planted(loop)
    return model.eval()

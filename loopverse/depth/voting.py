"""Votes: which readout a prediction is made from, where that of every loop is known.

Early readouts can beat the last one. A vote takes the readouts of a call, one for each loop, and gives the one to
predict from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution


@dataclass
class Vote:
    """The last loop alone. Subclasses are what `vote=NAME` chooses from."""

    every_loop: ClassVar[bool] = False
    """Whether readouts of loops before the last are needed."""

    def choose(
        self, readouts: list[Float[Tensor, "b t d"]], read: Callable[[Tensor], Distribution]
    ) -> Float[Tensor, "b t d"]:
        """The readout to predict from.

        Args:
            readouts: of every loop, in order.
            read: turns one into the domain's predictive distribution.
        """
        return readouts[-1]


@dataclass
class Last(Vote):
    """The last loop alone."""


@dataclass
class _Several(Vote):
    every_loop: ClassVar[bool] = True
    loops: int = 0

    def __post_init__(self) -> None:
        if self.loops < 0:
            raise ValueError(f"vote.loops must not be negative, got {self.loops}")


@dataclass
class Average(_Several):
    """The mean of the readouts: where predictions are linear in them, of the logits.

    Attributes:
        loops: the last so many loops; 0: all.
    """

    def choose(
        self, readouts: list[Float[Tensor, "b t d"]], read: Callable[[Tensor], Distribution]
    ) -> Float[Tensor, "b t d"]:
        return torch.stack(readouts[-self.loops :]).mean(0)


@dataclass
class Majority(_Several):
    """For each unit the latest readout whose most likely value is that of most loops.

    Attributes:
        loops: the last so many loops; 0: all.
    """

    def choose(
        self, readouts: list[Float[Tensor, "b t d"]], read: Callable[[Tensor], Distribution]
    ) -> Float[Tensor, "b t d"]:
        """Raises ValueError where a prediction is no category."""
        voters = torch.stack(readouts[-self.loops :])
        modes = torch.stack([read(one).mode for one in voters])
        if modes.is_floating_point() or modes.shape[1:] != voters.shape[1:3]:
            raise ValueError(
                "vote=majority needs one category for each unit, and this domain predicts something else: use "
                "vote=average"
            )
        votes = (modes[:, None] == modes[None]).sum(1)  # how many agree with each
        places = torch.arange(len(voters), device=votes.device)[:, None, None]
        chosen = (votes * len(voters) + places).argmax(0)  # the latest of those with most votes
        return voters.gather(0, chosen[None, ..., None].expand(1, *voters.shape[1:]))[0]

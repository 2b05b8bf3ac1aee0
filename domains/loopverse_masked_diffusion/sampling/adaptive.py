"""Samplers that find their own pace: the more certain the model, the more tokens in a step."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from loopverse.text import Draws
from loopverse_masked_diffusion.sampling.blocks import Stage
from loopverse_masked_diffusion.sampling.certain_first import by_rank, confidence, entropy, leading
from loopverse_masked_diffusion.sampling.sampler import Moves, Sampler, Scores


@dataclass(kw_only=True)
class Adaptive(Sampler, ABC):
    """Reveals at least one place a step; the noise level is the share of places still masked."""

    @abstractmethod
    def reveal(self, scores: Scores, stage: Stage) -> Bool[Tensor, "b t"]:
        """The masked places that become tokens."""

    def moves(self, scores: Scores, stage: Stage, draws: Draws) -> Moves:
        reveal = self.reveal(scores, stage)
        left = (stage.open & ~reveal).sum(dim=1).double()
        return Moves(reveal, left / stage.size)


@dataclass(kw_only=True)
class Threshold(Adaptive):
    """All places whose likeliest token is above a probability (Fast-dLLM, Wu et al. 2505.22618).

    Attributes:
        threshold: in [0, 1]; at 1 one place a step, the most certain first, at 0 all at once.
    """

    threshold: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {self.threshold}")

    def reveal(self, scores: Scores, stage: Stage) -> Tensor:
        certainty = confidence(scores.at(stage.open))
        reveal = leading(certainty, stage.open, torch.ones_like(stage.rows))
        if self.threshold < 1:  # rounding may put a probability above 1
            reveal[stage.open] |= certainty > self.threshold
        return reveal


@dataclass(kw_only=True)
class EntropyBound(Adaptive):
    """As many places as can be wrong together by at most a bound (Ben-Hamu et al. 2505.24857).

    What independent draws of several tokens miss is at most the sum of their entropies less the
    greatest one: places are taken by increasing entropy while that is within the bound.

    Attributes:
        gamma: the bound, in nats; 0 reveals places one at a time, or together where it is exact.
    """

    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gamma >= 0:
            raise ValueError(f"gamma must not be negative, got {self.gamma}")

    def reveal(self, scores: Scores, stage: Stage) -> Tensor:
        ranking = -entropy(scores.at(stage.open)).clamp(min=0).double()
        order, ranked = by_rank(ranking, stage.open)
        # The sum without its greatest term, which is the last: the sum of those before it.
        before = (-ranked).cumsum(dim=1).roll(1, dims=1)
        before[:, 0] = 0
        within = torch.zeros_like(stage.open).scatter_(1, order, before <= self.gamma)
        return stage.open & within

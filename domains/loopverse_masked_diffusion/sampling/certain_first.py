"""Samplers that reveal, at a fixed pace, the places where the model is most certain."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from loopverse.text import Draws
from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.sampling.blocks import Stage
from loopverse_masked_diffusion.sampling.sampler import Moves, Scheduled, Scores


def confidence(scores: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
    """The probability of the likeliest token."""
    return (scores.amax(dim=-1) - scores.logsumexp(dim=-1)).exp()


def margin(scores: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
    """How much likelier the likeliest token is than the second."""
    best = scores.softmax(dim=-1).topk(2, dim=-1).values
    return best[:, 0] - best[:, 1]


def entropy(scores: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
    """In nats."""
    return torch.special.entr(scores.softmax(dim=-1)).sum(dim=-1)


def leading(
    ranking: Float[Tensor, " n"], places: Bool[Tensor, "b t"], count: Int[Tensor, " b"]
) -> Bool[Tensor, "b t"]:
    """The `count` places of each row that rank highest; of equal ones, the leftmost.

    Args:
        ranking: of the true `places`, row after row.
        places: which may be chosen.
        count: how many; all, if there are fewer.
    """
    order, _ = by_rank(ranking, places)
    position = torch.arange(places.shape[1], device=places.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, position)
    return places & (rank < count[:, None])


def by_rank(
    ranking: Float[Tensor, " n"], places: Bool[Tensor, "b t"]
) -> tuple[Int[Tensor, "b t"], Float[Tensor, "b t"]]:
    """Where the highest ranking places are, and their ranking; the others last, at -inf."""
    table = torch.full(places.shape, -torch.inf, dtype=ranking.dtype, device=places.device)
    table[places] = ranking
    ranked, order = table.sort(dim=1, descending=True, stable=True)
    return order, ranked


@dataclass(kw_only=True)
class CertainFirst(Scheduled, ABC):
    """Reveals an equal share of the masked places in every step, the most certain first.

    Places are ranked by the model's distribution, not by the token that is drawn from it: so, with
    one place a step at temperature 1 and a perfect model, the samples are exact in any order.
    Revealed together, tokens are drawn independently of each other.
    """

    @abstractmethod
    def certainty(self, scores: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
        """What to rank places by, from unnormalised log-probabilities; the highest go first."""

    def check(self, canvas: Canvas) -> None:
        super().check(canvas)
        masks = canvas.open.sum(dim=1)
        least = int(masks[masks > 0].min()) if bool(masks.any()) else self.steps
        if self.steps > least:
            raise ValueError(
                f"{self.steps} steps cannot reveal a token each in a row of {least} masks: "
                f"set steps to {least} or less"
            )

    def moves(self, scores: Scores, stage: Stage, draws: Draws) -> Moves:
        left, after = self.clock(stage)
        count = -(-stage.open.sum(dim=1) // left)
        return Moves(leading(self.certainty(scores.at(stage.open)), stage.open, count), after)


@dataclass(kw_only=True)
class Confidence(CertainFirst):
    """Most certain: the highest probability of one token (MaskGIT, Chang et al. 2202.04200)."""

    def certainty(self, scores: Tensor) -> Tensor:
        return confidence(scores)


@dataclass(kw_only=True)
class Margin(CertainFirst):
    """Most certain: the largest lead of the likeliest token (Kim et al. 2502.06768)."""

    def certainty(self, scores: Tensor) -> Tensor:
        return margin(scores)


@dataclass(kw_only=True)
class Entropy(CertainFirst):
    """Most certain: the lowest entropy (Dream, Ye et al. 2508.15487)."""

    def certainty(self, scores: Tensor) -> Tensor:
        return -entropy(scores)

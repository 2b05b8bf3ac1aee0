"""Which tokens are hidden from the model: the noise of masked diffusion, and what each draw weighs.

The bound that all of them estimate (Sahoo et al. 2024, 2406.07524, eq. 10, log-linear schedule):

    nats of a text <= E_{t ~ U(0, 1]} [ 1/t * sum over masked positions of -log p(x_0 | x_t) ]

Given how many of `n` tokens are masked, the expectation over `t` is the same as over a count
`k ~ U{1..n}` with weight `n / k` (Ou et al. 2024, 2406.03736; Zheng et al. 2024, 2409.02908).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass
class Masked:
    """One draw of noise for a batch.

    Attributes:
        places: which tokens are hidden.
        scale: what a hidden token's nats weigh, per row, so that the mean over all tokens that are
            there estimates the bound in nats per token.
        level: the noise level of each row, in (0, 1].
    """

    places: Bool[Tensor, "b t"]
    scale: Float[Tensor, " b"]
    level: Float[Tensor, " b"]


class Masking(ABC):
    """A way to draw noise. All are unbiased; they differ in variance."""

    @abstractmethod
    def draw(self, present: Bool[Tensor, "b t"], rng: torch.Generator) -> Masked:
        """Hide some of the tokens that are there.

        Args:
            present: where there is a token.
            rng: a CPU generator; the only source of randomness.
        """


def hidden_at(
    level: Float[Tensor, " b"], present: Bool[Tensor, "b t"], rng: torch.Generator
) -> Masked:
    """Every token hidden with the probability `level` of its row, each for itself.

    Raises:
        ValueError: a level outside (0, 1].
    """
    if not bool(((level > 0) & (level <= 1)).all()):
        outside = level[~((level > 0) & (level <= 1))][0]
        raise ValueError(f"a noise level must be in (0, 1], got {float(outside):g}")
    drawn = torch.rand(present.shape, generator=rng, dtype=torch.double)
    places = (drawn < level[:, None]) & present
    return Masked(places, (1 / level).float(), level.float())


class Independent(Masking):
    """A noise level for every row, drawn for itself."""

    def draw(self, present: Tensor, rng: torch.Generator) -> Masked:
        level = 1 - torch.rand(len(present), generator=rng, dtype=torch.double)
        return hidden_at(level, present, rng)


class LowDiscrepancy(Masking):
    """Noise levels spread evenly over the batch by one draw (Kingma et al. 2021, 2107.00630, app. I)."""

    def draw(self, present: Tensor, rng: torch.Generator) -> Masked:
        return hidden_at(1 - _spread(len(present), rng), present, rng)


class FixedCount(Masking):
    """How many tokens are hidden is drawn, spread evenly over the batch; which ones, at random.

    The weight `n / k` then varies with nothing but the count, so the variance is finite, which that of
    `1 / t` is not.
    """

    def draw(self, present: Tensor, rng: torch.Generator) -> Masked:
        total = present.sum(dim=1)
        count = (_spread(len(present), rng) * total).long().clamp(max=total - 1) + 1
        drawn = torch.rand(present.shape, generator=rng, dtype=torch.double)
        rank = drawn.masked_fill(~present, 2.0).argsort(dim=1).argsort(dim=1)
        places = (rank < count[:, None]) & present
        level = count / total.clamp(min=1)
        scale = torch.where(total > 0, total / count.clamp(min=1), 0)
        return Masked(places, scale.float(), level.clamp(min=1e-6).float())


MASKINGS: dict[str, type[Masking]] = {
    "low_discrepancy": LowDiscrepancy,
    "independent": Independent,
    "fixed_count": FixedCount,
}
"""Every way to draw noise by the name it is chosen with: `domain.masking`."""


def _spread(size: int, rng: torch.Generator) -> Float[Tensor, " b"]:
    """Numbers in [0, 1), one in each of `size` equal parts, in random order."""
    order = torch.randperm(size, generator=rng)
    return (order + torch.rand(1, generator=rng, dtype=torch.double)) / size

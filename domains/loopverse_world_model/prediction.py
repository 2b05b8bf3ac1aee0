"""What the world model says of a transition: a distribution over each part of what happens next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal
from torch.nn import functional as F

LOWEST, HIGHEST = -6.0, 2.0
"""Bounds of the logarithm of a standard deviation: what is certain must not become a division by zero."""


@dataclass
class Origin:
    """What predicted changes are counted from.

    Attributes:
        base: numbers of the last observations, by leaf.
        age: steps between that observation and the state predicted from, 0 where it was just seen.
    """

    base: dict[str, Tensor]
    age: Int[Tensor, "*batch"]

    @classmethod
    def stacked(cls, origins: Sequence["Origin"]) -> "Origin":
        """Those of consecutive steps, time on the second axis."""
        base = {
            name: torch.stack([origin.base[name] for origin in origins], 1)
            for name in origins[0].base
        }
        return cls(base, torch.stack([origin.age for origin in origins], 1))


class TransitionDistribution(Distribution):
    """Independent parts: pieces of the observation, the reward, whether the episode goes on.

    Args:
        parts: a distribution for each name, all of one batch shape, in the units of the heads.
        outputs: of the heads, which the distributions are made of.
        origin: what predicted changes are counted from, where that is known.
    """

    def __init__(
        self,
        parts: Mapping[str, Distribution],
        outputs: Mapping[str, Tensor],
        origin: Origin | None = None,
    ) -> None:
        self.parts, self.outputs, self.origin = dict(parts), dict(outputs), origin
        first = next(iter(self.parts.values()))
        super().__init__(first.batch_shape, validate_args=False)

    # torch types the value as a tensor, and ours has a part for each name.
    def log_prob(self, value: Mapping[str, Tensor]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The sum over parts, in nats."""
        return torch.stack([p.log_prob(value[n]) for n, p in self.parts.items()]).sum(0)

    def loss(
        self, value: Mapping[str, Tensor], beta: float, weights: Mapping[str, float]
    ) -> Tensor:
        """What is minimised in training: nats in which uncertain numbers keep their say.

        The likelihood of a normal number divides its squared error by the variance, so that numbers the
        model is unsure of are hardly learned, and it stays unsure of them. Each is weighed by its
        variance to the power `beta`, through which no gradient goes: 0 is the likelihood, 1 the squared
        error. Source: Seitzer et al. 2022 (2203.09168, eq. 5), who advise 0.5.

        Args:
            value: what happened, in the units of the heads.
            beta: from 0 to 1.
            weights: of parts that count more or less than once.
        """
        losses = [
            weights.get(name, 1.0) * _weighed_nats(part, value[name], beta)
            for name, part in self.parts.items()
        ]
        return torch.stack(losses).sum(0)

    def entropy(self) -> Tensor:
        return torch.stack([part.entropy() for part in self.parts.values()]).sum(0)

    def sample(self, sample_shape: Any = ()) -> Any:
        return {name: part.sample(torch.Size(sample_shape)) for name, part in self.parts.items()}


def _weighed_nats(part: Distribution, value: Tensor, beta: float) -> Tensor:
    inner = part.base_dist if isinstance(part, Independent) else part
    if not isinstance(inner, Normal) or beta == 0:
        return -part.log_prob(value)
    return -(inner.log_prob(value) * inner.variance.detach() ** beta).sum(-1)


@torch.distributions.register_kl(TransitionDistribution, TransitionDistribution)
def _kl(p: TransitionDistribution, q: TransitionDistribution) -> Tensor:
    parts = [torch.distributions.kl_divergence(p.parts[n], q.parts[n]) for n in p.parts]
    return torch.stack(parts).sum(0)


def normal(outputs: Float[Tensor, "*batch m"]) -> Independent:
    """Independent normal numbers; the first half of the outputs are means, the second log deviations.

    The deviation is held between two bounds by a smooth clamp, as in Chua et al. 2018 (1805.12114,
    appendix A.1).
    """
    mean, log_std = outputs.float().chunk(2, dim=-1)
    log_std = HIGHEST - F.softplus(HIGHEST - log_std)
    log_std = LOWEST + F.softplus(log_std - LOWEST)
    return Independent(Normal(mean, log_std.exp(), validate_args=False), 1, validate_args=False)


def categories(logits: Float[Tensor, "*batch m"], sizes: tuple[int, ...]) -> Independent:
    """Independent categories, as many as there are sizes, of different numbers of values."""
    largest = max(sizes)
    rows = [
        F.pad(row, (0, largest - size), value=-1e9)
        for row, size in zip(logits.float().split(sizes, dim=-1), sizes, strict=True)
    ]
    stacked = torch.stack(rows, dim=-2)
    return Independent(Categorical(logits=stacked, validate_args=False), 1, validate_args=False)

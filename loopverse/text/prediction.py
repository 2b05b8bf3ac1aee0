"""The distribution over a token, cheap to train on and complete to look at."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical, Distribution
from torch.distributions.utils import lazy_property
from torch.nn import functional as F


class TokenDistribution(Categorical):
    """A categorical distribution that normalises its logits only when somebody asks.

    `Categorical` does so when it is made, which costs a pass over `[b t vocab]`, and another one
    backward, that the fused cross-entropy of `log_prob` has no need of.

    Args:
        logits: unnormalised, of any floating type; all else is computed in float32.
    """

    def __init__(self, logits: Float[Tensor, "*batch vocab"]) -> None:
        self.raw = logits
        self._num_events = logits.shape[-1]
        Distribution.__init__(self, logits.shape[:-1], validate_args=False)

    @lazy_property
    def logits(  # pyright: ignore[reportIncompatibleVariableOverride]  the type of a lazy_property names its class
        self,
    ) -> Float[Tensor, "*batch vocab"]:
        """Normalised: `log p` of every token."""
        return F.log_softmax(self.raw.float(), dim=-1)

    @lazy_property
    def probs(  # pyright: ignore[reportIncompatibleVariableOverride]  the type of a lazy_property names its class
        self,
    ) -> Float[Tensor, "*batch vocab"]:
        """The probability of every token."""
        return F.softmax(self.raw.float(), dim=-1)

    @property
    def mode(self) -> Int[Tensor, "*batch"]:
        """The most likely token."""
        return self.raw.argmax(dim=-1)

    @property
    def _param(self) -> Tensor:
        return self.raw

    def log_prob(self, value: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The logarithm of the probability of `value`, in nats."""
        if value.shape != self.batch_shape:
            return super().log_prob(value)
        loss = F.cross_entropy(
            self.raw.flatten(0, -2).float(), value.flatten().long(), reduction="none"
        )
        return -loss.view(value.shape)

    def expand(
        self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "TokenDistribution":
        """The same distribution, repeated to another batch shape."""
        return TokenDistribution(self.raw.expand(*batch_shape, self._num_events))

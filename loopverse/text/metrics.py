"""What a language model is measured by."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric


class BitsPerByte(Metric):
    """Code length of a text in bits over its length in bytes of UTF-8.

    Unlike perplexity it does not depend on the tokeniser. All tokens are paid for, ends of documents
    too, although these stand for no byte.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    nats: Tensor
    bytes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nats", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("bytes", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, nats: Float[Tensor, "*units"], sizes: Int[Tensor, "*units"]) -> None:
        """Count some tokens.

        Args:
            nats: minus the logarithm of the probability of each token; 0 where it does not count.
            sizes: bytes that each token stands for; 0 where it does not count.
        """
        self.nats += nats.detach().float().sum()
        self.bytes += sizes.sum()

    def compute(self) -> Float[Tensor, ""]:
        """Bits per byte; not a number while no byte was counted."""
        return self.nats / math.log(2) / self.bytes

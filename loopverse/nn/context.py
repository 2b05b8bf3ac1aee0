"""What every layer of one call shares: the mask, the rotary angles, the condition, the cache."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from loopverse.nn.cache import KVCache


@dataclass(eq=False)
class Context:
    """Computed once per call of the core, read by every layer in every loop.

    Attributes:
        cos, sin: rotary angles, `[b 1 t h]`, or `[1 1 t h]` when all rows have the same positions.
        causal: whether plain causal attention applies; only read where `mask` is None.
        mask: true where a query may read a key.
        cond: condition of a row, for adaptive norms.
        cache: keys and values of earlier calls.
    """

    cos: Float[Tensor, "#b 1 t h"]
    sin: Float[Tensor, "#b 1 t h"]
    causal: bool
    mask: Bool[Tensor, "#b 1 t s"] | None = None
    cond: Float[Tensor, "b d"] | None = None
    cache: KVCache | None = None

    def take(self, rows: Int[Tensor, " n"]) -> "Context":
        """The same for some rows of the batch.

        Raises:
            ValueError: the call has a cache, whose rows cannot leave in the middle of a call.
        """
        if self.cache is not None:
            raise ValueError(
                "rows cannot join or leave between loops while a cache is in use: "
                "use halting=fixed_depth and one depth for all rows"
            )
        return Context(
            _rows(self.cos, rows),
            _rows(self.sin, rows),
            self.causal,
            None if self.mask is None else _rows(self.mask, rows),
            None if self.cond is None else self.cond[rows],
        )


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    return x if len(x) == 1 else x[rows]

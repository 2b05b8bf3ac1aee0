"""The canvas: rows of tokens of which some are still masked, and where each row stands."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass
class Canvas:
    """What a sampler reads and returns. Rows may stand at different stages.

    Attributes:
        tokens: `mask_id` where nothing is committed yet.
        editable: where a sampler may write: false for prompts and padding.
        mask_id: the token that hides others; it is never committed.
        time: noise level of each row, float64: 1 at the start, 0 when it is done.
        rows: number of each row in the whole batch, which chooses its generator; state that is kept
            per row is kept by this number.
        certainty: the probability that a token had when it was committed, inf where it was given or
            is masked. Default: all inf.

    Raises:
        ValueError: a field has another shape or type.
    """

    tokens: Int[Tensor, "b t"]
    editable: Bool[Tensor, "b t"]
    mask_id: int
    time: Float[Tensor, " b"]
    rows: Int[Tensor, " b"]
    certainty: Float[Tensor, "b t"] = field(default=None)  # pyright: ignore[reportAssignmentType]  set in __post_init__

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2:
            raise ValueError(
                f"tokens must have the shape [batch, time], got {list(self.tokens.shape)}"
            )
        if self.certainty is None:
            self.certainty = torch.full(self.tokens.shape, torch.inf, device=self.tokens.device)
        num_rows = self.tokens.shape[:1]
        for name, shape, dtype in (
            ("tokens", self.tokens.shape, torch.long),
            ("editable", self.tokens.shape, torch.bool),
            ("time", num_rows, torch.double),
            ("rows", num_rows, torch.long),
            ("certainty", self.tokens.shape, torch.float),
        ):
            value = getattr(self, name)
            if value.dtype != dtype or value.shape != shape:
                raise ValueError(
                    f"{name} must be {dtype} of shape {list(shape)}, "
                    f"got {value.dtype} of shape {list(value.shape)}"
                )

    @classmethod
    def of(
        cls, tokens: Int[Tensor, "b t"], mask_id: int, editable: Bool[Tensor, "b t"] | None = None
    ) -> "Canvas":
        """At the start of sampling, rows numbered 0, 1, ...

        Args:
            tokens: a prompt anywhere, `mask_id` where tokens are wanted.
            mask_id: see above.
            editable: default: where `tokens` is masked.
        """
        num_rows, device = len(tokens), tokens.device
        return cls(
            tokens,
            tokens == mask_id if editable is None else editable,
            mask_id,
            time=torch.ones(num_rows, dtype=torch.double, device=device),
            rows=torch.arange(num_rows, device=device),
        )

    @classmethod
    def blank(
        cls, num_rows: int, length: int, mask_id: int, device: torch.device | str | None = None
    ) -> "Canvas":
        """Nothing but masks."""
        return cls.of(torch.full((num_rows, length), mask_id, device=device), mask_id)

    @property
    def masked(self) -> Bool[Tensor, "b t"]:
        """Where no token is committed."""
        return self.tokens == self.mask_id

    @property
    def open(self) -> Bool[Tensor, "b t"]:
        """Where a sampler has still to write."""
        return self.masked & self.editable

    def take(self, index: Int[Tensor, " n"] | Bool[Tensor, " b"]) -> "Canvas":
        """Some of the rows."""
        return Canvas(
            self.tokens[index],
            self.editable[index],
            self.mask_id,
            self.time[index],
            self.rows[index],
            self.certainty[index],
        )

    def put(self, index: Int[Tensor, " n"], part: "Canvas") -> "Canvas":
        """The whole, with `part` in place of the rows that `take(index)` gave."""
        return replace(
            self,
            tokens=self.tokens.index_copy(0, index, part.tokens),
            time=self.time.index_copy(0, index, part.time),
            certainty=self.certainty.index_copy(0, index, part.certainty),
        )

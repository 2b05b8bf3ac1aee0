"""Who may look at whom: the mask that a domain states, and its form for the attention kernel."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass
class Attend:
    """Which positions a position may read. Nothing in here is ever dropped silently.

    Attributes:
        causal: only itself and earlier positions.
        padding: true where there is a unit, false where there is padding; None: no padding.
        segments: number of the document that a position belongs to; positions of different
            documents never see each other. None: one document a row.
    """

    causal: bool = True
    padding: Bool[Tensor, "b t"] | None = None
    segments: Int[Tensor, "b t"] | None = None

    def mask(
        self,
        length: int,
        past: Bool[Tensor, "b p"] | int = 0,
        device: torch.device | None = None,
    ) -> Bool[Tensor, "#b 1 t s"] | None:
        """The mask of `length` new positions over `past` earlier ones and themselves.

        A position always sees itself, so that no row of the mask is empty.

        Args:
            length: number of new positions.
            past: number of cached positions, or which of them are not padding.
            device: where the mask is needed, that of `padding` and `segments`; None: the CPU.

        Returns:
            True where a query (axis -2) may read a key (axis -1); None where plain causal or full
            attention over the new positions says it all.
        """
        num_past = past if isinstance(past, int) else past.shape[1]
        padded = self.padding is not None or not isinstance(past, int)
        if (
            not padded
            and self.segments is None
            and (num_past == 0 or not self.causal or length == 1)
        ):
            return None
        query = torch.arange(num_past, num_past + length, device=device)
        key = torch.arange(num_past + length, device=device)
        itself = query[:, None] == key
        allowed = (query[:, None] >= key if self.causal else itself | True)[None]
        if self.segments is not None:
            if num_past:
                raise ValueError(
                    "documents packed in one row cannot be extended through a cache: "
                    "give each document its own row"
                )
            allowed = allowed & (self.segments[:, :, None] == self.segments[:, None, :])
        if padded:
            allowed = allowed & self._present(length, past)[:, None, :]
        return (allowed | itself)[:, None]

    def take(self, rows: Int[Tensor, " n"]) -> "Attend":
        """The same for some rows of the batch."""
        return Attend(
            self.causal,
            None if self.padding is None else self.padding[rows],
            None if self.segments is None else self.segments[rows],
        )

    def _present(self, length: int, past: Tensor | int) -> Tensor:
        """Which of the past and new positions are not padding, `[b s]`."""
        new = self.padding
        if isinstance(past, int):
            assert new is not None
            past = new.new_ones(len(new), past)
        if new is None:
            new = past.new_ones(len(past), length)
        return torch.cat([past, new], dim=1)

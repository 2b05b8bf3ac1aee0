"""Keys and values that outlive a call: one slot per layer and loop."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Slot = tuple[int, int]
"""A layer, counted through prelude, loop and coda, and the loop it ran in (0 outside the loop)."""


class KVCache:
    """The keys and values of the positions read so far.

    A call adds its positions with `update`, once per slot, and makes them count with `commit`; a call
    that fails in between leaves the cache as it was. A batch of prompts is padded on the left, so
    that all rows grow together.
    """

    def __init__(self) -> None:
        self.length = 0
        self._keys: dict[Slot, Tensor] = {}
        self._values: dict[Slot, Tensor] = {}
        self._filled: dict[Slot, int] = {}
        self._written: set[Slot] = set()  # since the last commit
        self._present: Tensor | None = None

    @property
    def past(self) -> Bool[Tensor, "b p"] | int:
        """Which cached positions are not padding; just their number while none is padding."""
        return self.length if self._present is None else self._present[:, : self.length]

    def update(
        self, slot: Slot, keys: Float[Tensor, "b n t h"], values: Float[Tensor, "b n t h"]
    ) -> tuple[Float[Tensor, "b n s h"], Float[Tensor, "b n s h"]]:
        """Write the new positions of a slot and return all of its positions, past and new.

        Raises:
            ValueError: the slot lacks earlier positions (they were read with fewer loops), the batch
                has another size, or a gradient would flow into the cache.
        """
        if keys.requires_grad:
            raise ValueError("a cache holds no gradients: run cached calls under torch.no_grad()")
        if slot in self._written:  # the call before failed on its way: this is a new one
            self._written.clear()
        filled = self._filled.get(slot, 0)
        if filled < self.length:
            raise ValueError(
                f"layer {slot[0]} has keys for {filled} of {self.length} positions in loop "
                f"{slot[1] + 1}: the earlier positions were read with fewer loops; use as many loops "
                "as then, or crop the cache to 0 and read the prompt again"
            )
        total = self.length + keys.shape[2]
        for store, new in ((self._keys, keys), (self._values, values)):
            self._make_room(store, slot, new, total)
            store[slot][:, :, self.length : total] = new
        self._written.add(slot)
        return self._keys[slot][:, :, :total], self._values[slot][:, :, :total]

    def commit(self, num_new: int, padding: Bool[Tensor, "b t"] | None = None) -> None:
        """Make the positions written since the last commit part of the past.

        Args:
            num_new: how many there are.
            padding: true where they are units, false where they are padding.
        """
        if padding is not None or self._present is not None:
            self._present = self._extended_padding(num_new, padding)
        self.length += num_new
        self._filled.update(dict.fromkeys(self._written, self.length))
        self._written.clear()

    def crop(self, length: int) -> None:
        """Forget all positions from `length` on.

        Raises:
            ValueError: the cache is shorter than that.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot cut a cache of {self.length} positions to {length}")
        self.length = length
        self._filled = {slot: min(filled, length) for slot, filled in self._filled.items()}
        if self._present is not None:
            self._present = self._present[:, :length] if length else None

    def select(self, rows: Int[Tensor, " n"]) -> None:
        """Keep some rows of the batch, in the given order."""
        self._keys = {slot: keys[rows] for slot, keys in self._keys.items()}
        self._values = {slot: values[rows] for slot, values in self._values.items()}
        if self._present is not None:
            self._present = self._present[rows]

    def _make_room(self, store: dict[Slot, Tensor], slot: Slot, new: Tensor, total: int) -> None:
        """Let a slot hold `total` positions; rooms double, so that growing costs little."""
        old = store.get(slot)
        if old is not None and len(old) != len(new):
            if self.length:
                raise ValueError(
                    f"the cache holds a batch of {len(old)} rows, got one of {len(new)}: "
                    "select rows, or begin with a new cache"
                )
            old = None
        if old is not None and old.shape[2] >= total:
            return
        batch, heads, _, width = new.shape
        room = total if old is None else max(total, 2 * old.shape[2])
        grown = new.new_empty(batch, heads, room, width)
        if old is not None:
            grown[:, :, : self.length] = old[:, :, : self.length]
        store[slot] = grown

    def _extended_padding(self, num_new: int, padding: Tensor | None) -> Tensor:
        if padding is None:
            assert self._present is not None
            padding = self._present.new_ones(len(self._present), num_new)
        past = self._present
        if past is None:
            past = padding.new_ones(len(padding), self.length)
        return torch.cat([past, padding], dim=1)

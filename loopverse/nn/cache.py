"""Keys and values that outlive a call: one slot per layer and loop."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from loopverse.nn.packing import Packing

Slot = tuple[int, Any]
"""A layer, counted through prelude, loop and coda, and the loop it ran in (0 outside the loop).

Where each unit is in a loop of its own, those loops, `[n]`."""


@dataclass
class Halted:
    """Units of the past that halted, to be read again in loops that they did not run.

    Attributes:
        z: their last states, `[b room d]`.
        e: what the loop read, `[b room d]`.
        positions: for rotary angles, `[b room]`.
        loops: for so many there are keys and values, `[b room]`.
    """

    z: Float[Tensor, "b p d"]
    e: Float[Tensor, "b p d"]
    positions: Int[Tensor, "b p"]
    loops: Int[Tensor, "b p"]

    def joined(self, other: "Halted", length: int) -> "Halted":
        """These, cut to `length`, and then others."""
        return Halted(
            *(
                torch.cat([getattr(self, item.name)[:, :length], getattr(other, item.name)], 1)
                for item in fields(self)
            )
        )

    def take(self, rows: Int[Tensor, " n"]) -> "Halted":
        """Some of the rows."""
        return Halted(*(getattr(self, item.name)[rows] for item in fields(self)))


class KVCache:
    """The keys and values of the positions read so far.

    A call says with `begin` how deep it may go, adds its positions with `update`, once per slot or
    more often, and makes them count with `commit`; a call that fails in between leaves the cache as it
    was. A batch of prompts is padded on the left, so that all rows grow together.
    """

    def __init__(self) -> None:
        self.length = 0
        self._keys: dict[int, Tensor] = {}  # by layer, [loops b n room h]
        self._values: dict[int, Tensor] = {}
        self._filled: dict[Slot, int] = {}
        self._written: set[Slot] = set()  # since the last commit
        self._present: Tensor | None = None
        self._looped, self._loops = range(0), 1
        self._halted: Halted | None = None
        self._kv = "copy"

    @property
    def past(self) -> Bool[Tensor, "b p"] | int:
        """Which cached positions are not padding; just their number while none is padding."""
        return self.length if self._present is None else self._present[:, : self.length]

    @property
    def device(self) -> torch.device:
        """Where the keys and values are."""
        return next(iter(self._keys.values())).device

    def count(self, row: int) -> int:
        """How many cached positions of a row are not padding."""
        return self.length if self._present is None else int(self._present[row].sum())

    def layers(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Each layer with its keys and values, `[loops b h p c]`, `p` the cached positions or more."""
        for layer, keys in self._keys.items():
            yield layer, keys, self._values[layer]

    def begin(self, looped: range = range(0), loops: int = 1, kv: str = "copy") -> None:
        """A call begins; what one before it wrote and did not commit is forgotten.

        Args:
            looped: layers that are looped.
            loops: the most that a unit gets.
            kv: what stands for loops that a unit did not run: see `Halting.kv`.

        Raises:
            ValueError: the earlier positions were read with another `kv`.
        """
        if self.length and kv != self._kv:
            raise ValueError(
                f"the cache was begun with halting.kv={self._kv} and this call has {kv} (a call that never "
                "stops early: copy): use the same rule throughout, or begin with a new cache"
            )
        self._kv = kv
        if not self.length:
            self._halted = None
        self._written.clear()
        self._looped, self._loops = looped, max(loops, self._loops)

    def update(
        self,
        slot: Slot,
        keys: Float[Tensor, "n h t c"],
        values: Float[Tensor, "n h t c"],
        rows: Int[Tensor, " n"] | None = None,
    ) -> tuple[Float[Tensor, "n h s c"], Float[Tensor, "n h s c"]]:
        """Write the new positions of a slot and return all of its positions, past and new.

        Args:
            slot: where to.
            keys: of the new positions.
            values: of the new positions.
            rows: of the batch that these are; None: all, in order.

        Raises:
            ValueError: the slot lacks earlier positions (they were read with fewer loops), the batch
                has another size, or a gradient would flow into the cache.
        """
        if keys.requires_grad:
            raise ValueError("a cache holds no gradients: run cached calls under torch.no_grad()")
        layer, loop = slot
        filled = self._filled.get(slot, 0)
        if filled < self.length:
            raise ValueError(
                f"layer {layer} has keys for {filled} of {self.length} positions in loop "
                f"{loop + 1}: the earlier positions were read with fewer loops; use as many loops "
                "as then, or crop the cache to 0 and read the prompt again"
            )
        total = self.length + keys.shape[2]
        found = []
        for store, new in ((self._keys, keys), (self._values, values)):
            self._make_room(store, slot, new, total, rows is not None)
            kept = store[layer][loop]
            if rows is None:
                kept[:, :, self.length : total] = new
                found.append(kept[:, :, :total])
            else:
                kept[rows, :, self.length : total] = new
                found.append(kept[:, :, :total].index_select(0, rows))
        self._written.add(slot)
        return found[0], found[1]

    def settle(self, depth: Int[Tensor, "b t"]) -> None:
        """Copy the keys and values of units that halted to the loops that they did not run.

        Args:
            depth: loops that each new unit got, at least 1.
        """
        new = slice(self.length, self.length + depth.shape[1])
        loops = torch.arange(self._loops, device=depth.device)[:, None, None]
        source = torch.minimum(loops, depth - 1)[:, :, None, :, None]  # [loops b 1 t 1]
        for layer in self._looped:
            for store in (self._keys, self._values):
                part = store[layer][: self._loops, :, :, new]
                index = source.expand(-1, -1, part.shape[2], -1, part.shape[4])
                part.copy_(part.gather(0, index))
            slots = ((layer, loop) for loop in range(self._loops))
            self._written.update(s for s in slots if self._filled.get(s, 0) >= self.length)

    def halt(self, halted: Halted) -> None:
        """Keep new units as they halted, for `behind` to ask for what they did not run."""
        known = self._halted
        self._halted = halted if known is None else known.joined(halted, self.length)
        self._written.update((layer, loop) for layer in self._looped for loop in range(self._loops))

    def behind(
        self, loop: int, rows: Int[Tensor, " n"] | None
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]] | None:
        """Rows and positions of the units of the past that lack the keys of a loop; None: none do.

        Args:
            loop: that is about to be run.
            rows: which run it; None: all.
        """
        if self._halted is None or self.length == 0:
            return None
        lacking = self._halted.loops[:, : self.length] <= loop
        if self._present is not None:
            lacking = lacking & self._present[:, : self.length]
        if rows is not None:
            runs = torch.zeros(len(lacking), dtype=torch.bool, device=lacking.device)
            runs[rows] = True
            lacking = lacking & runs[:, None]
        found_rows, units = lacking.nonzero(as_tuple=True)
        return (found_rows, units) if len(units) else None

    @property
    def halted(self) -> Halted:
        """The units of the past as they halted, if a call kept them."""
        assert self._halted is not None
        return self._halted

    def catch_up(
        self, slot: Slot, k: Float[Tensor, "1 h n c"], v: Float[Tensor, "1 h n c"], packing: Packing
    ) -> tuple[Float[Tensor, "n h s c"], Float[Tensor, "n h s c"]]:
        """Write keys and values of units of the past and return those of their rows' past."""
        layer, loop = slot
        rows = packing.rows[packing.local]
        found = []
        for store, new in ((self._keys, k), (self._values, v)):
            store[layer][loop][rows, :, packing.units] = new[0].transpose(0, 1)
            found.append(store[layer][loop][:, :, : self.length].index_select(0, packing.rows))
        self.halted.loops[rows, packing.units] = loop + 1
        return found[0], found[1]

    def commit(self, num_new: int, padding: Bool[Tensor, "b t"] | None = None) -> None:
        """Make the positions written since the call began part of the past.

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
        self._keys = {layer: keys[:, rows] for layer, keys in self._keys.items()}
        self._values = {layer: values[:, rows] for layer, values in self._values.items()}
        if self._present is not None:
            self._present = self._present[rows]
        if self._halted is not None:
            self._halted = self._halted.take(rows)

    def _make_room(
        self, store: dict[int, Tensor], slot: Slot, new: Tensor, total: int, some: bool
    ) -> None:
        """Let a slot hold `total` positions; rooms double, so that growing costs little."""
        layer, loop = slot
        old = store.get(layer)
        if old is not None and not some and old.shape[1] != len(new):
            if self.length:
                raise ValueError(
                    f"the cache holds a batch of {old.shape[1]} rows, got one of {len(new)}: "
                    "select rows, or begin with a new cache"
                )
            old = None
        loops = max(loop + 1, self._loops if layer in self._looped else 1)
        if old is not None and old.shape[3] >= total and len(old) >= loops:
            return
        batch, heads, _, width = new.shape
        room = total
        if old is not None:
            loops, batch = max(loops, len(old)), old.shape[1]
            room = old.shape[3] if old.shape[3] >= total else max(total, 2 * old.shape[3])
        grown = new.new_zeros(loops, batch, heads, room, width)  # what is masked must be finite
        if old is not None:  # what was written in this call counts too
            grown[: len(old), :, :, : old.shape[3]] = old
        store[layer] = grown

    def _extended_padding(self, num_new: int, padding: Tensor | None) -> Tensor:
        if padding is None:
            assert self._present is not None
            padding = self._present.new_ones(len(self._present), num_new)
        past = self._present
        if past is None:
            past = padding.new_ones(len(padding), self.length)
        return torch.cat([past, padding], dim=1)

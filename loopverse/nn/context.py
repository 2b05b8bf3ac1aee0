"""What every layer of one call shares: the mask, the rotary angles, the condition, the cache."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from loopverse.depth import Active
from loopverse.nn.cache import KVCache, Slot
from loopverse.nn.packing import OwnKeys, Packing
from loopverse.nn.places import At


@dataclass(eq=False)
class Context:
    """Computed once per call of the core, read by every layer in every loop.

    Attributes:
        cos, sin: rotary angles, `[b 1 t h]`, or `[1 1 t h]` when all rows have the same positions; of
            packed units `[1 1 N h]`.
        causal: no unit reads farther than itself; without a mask, plain causal attention.
        mask: true where a query may read a key, or what to add to the logits.
        cond: condition of a row, for adaptive norms; of packed units, of each of them.
        cache: keys and values of earlier calls.
        rows: of the batch that are at hand; None: all.
        own: keys and values of this call's units, where units of a row halt one after another.
        halted: units at hand whose keys stay as they are.
        packing: where packed units belong; None: whole rows.
        of_the_past: the packed units are in the cache already, and catch up with a loop.
        kv: which keys stand for loops that a unit did not run: see `Halting`.
        at: the units at hand are the next ones of texts in `Places`, which have their keys and values.
    """

    cos: Float[Tensor, "#b 1 t h"]
    sin: Float[Tensor, "#b 1 t h"]
    causal: bool
    mask: Bool[Tensor, "#b 1 t s"] | Float[Tensor, "#b 1 t s"] | None = None
    cond: Float[Tensor, "b d"] | Float[Tensor, "1 n d"] | None = None
    cache: KVCache | None = None
    rows: Int[Tensor, " n"] | None = None
    own: OwnKeys | None = None
    halted: Bool[Tensor, "n t"] | None = None
    packing: Packing | None = None
    of_the_past: bool = False
    kv: str = "copy"
    at: At | None = None

    def take(self, active: Active | None) -> "Context":
        """The same for some rows of the batch, or for some units of them."""
        if active is None:
            return self
        if active.units is not None:
            past = 0 if self.cache is None else self.cache.length
            return self._packed(Packing.of(active, past), active)
        if self.own is not None:
            self.own.follow(active.rows)
        return replace(
            self,
            cos=_rows(self.cos, active.rows),
            sin=_rows(self.sin, active.rows),
            mask=None if self.mask is None else _rows(self.mask, active.rows),
            cond=None if self.cond is None else self.cond[active.rows],
            rows=active.rows,
            halted=active.halted,
        )

    def keys(self, slot: Slot, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values that the units at hand may read, given those just computed.

        Args:
            slot: the layer and the loop.
            k: `[n h t c]`, or `[1 h N c]` of packed units.
            v: alike.

        Returns:
            `[n h s c]` each, for the rows at hand.
        """
        layer, loop = slot
        if self.of_the_past:
            assert self.cache is not None
            assert self.packing is not None
            return self.cache.catch_up(slot, k, v, self.packing)
        if self.own is not None and self.kv == "first" and loop > 0:
            k, v = self.own.of(layer)
        elif self.own is not None:
            k, v = self.own.update(layer, k, v, self.packing, self.halted)
        if self.cache is not None:
            kept = loop if self.kv in ("copy", "exact") else 0
            k, v = self.cache.update((layer, kept), k, v, self.rows)
        return k, v

    def _packed(self, packing: Packing, active: Active) -> "Context":
        assert self.own is not None
        self.own.follow(packing.rows)
        rows, units = active.rows, packing.units
        batch = torch.zeros_like(rows) if len(self.cos) == 1 else rows
        return replace(
            self,
            cos=self.cos[batch, 0, units][None, None],
            sin=self.sin[batch, 0, units][None, None],
            mask=self._packed_mask(packing, rows),
            cond=None if self.cond is None else self.cond[rows][None],
            rows=packing.rows,
            halted=active.halted,
            packing=packing,
        )

    def past(
        self, rows: Tensor, units: Tensor, cos: Tensor, sin: Tensor, present: Tensor | None
    ) -> "Context":
        """The same for units that are in the cache, which read no further than themselves.

        Args:
            rows: of each unit, ascending.
            units: their positions in the cache.
            cos, sin: their rotary angles, `[1 1 N h]`.
            present: which cached positions are not padding, `[b p]`; None: all.
        """
        assert self.cache is not None
        packing = Packing.of(Active(rows, units))
        allowed = torch.arange(self.cache.length, device=rows.device) <= units[:, None]
        if present is not None:
            allowed = allowed & present[rows]
        return replace(
            self,
            cos=cos,
            sin=sin,
            mask=packing.mask(allowed, cos.dtype),
            cond=None if self.cond is None else self.cond[rows][None],
            rows=packing.rows,
            halted=None,
            packing=packing,
            of_the_past=True,
        )

    def _packed_mask(self, packing: Packing, rows: Tensor) -> Tensor | None:
        length, dtype = self.cos.shape[2], self.cos.dtype
        if self.mask is not None:
            batch = torch.zeros_like(rows) if len(self.mask) == 1 else rows
            return packing.mask(self.mask[batch, 0, packing.units], dtype)
        if not self.causal:
            return None
        key = torch.arange(length, device=rows.device)
        return packing.mask(key <= packing.units[:, None], dtype)


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    return x if len(x) == 1 else x[rows]


def in_autocast(x: Tensor) -> Tensor:
    """The stream in the precision of the matrix products, which halves the memory that a loop moves."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x

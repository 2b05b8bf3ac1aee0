"""Units of several rows side by side: what is computed when some units of a row have halted."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from loopverse.depth import Active


@dataclass(eq=False)
class Packing:
    """`N` units of `n` rows, and where each of them belongs; states of them are `[1 N d]`.

    All but attention is done for each unit by itself. For attention, the queries of a row come
    together in a padded tensor `[n h k c]`, with `k` the most units that any row has.

    Attributes:
        rows: of the batch, `[n]`, those with at least one unit here, ascending.
        local: number of each unit's row among them, `[N]`.
        units: position of each unit in its row, `[N]`.
        slots: where each unit goes in the padded queries, `[N]`, a number below `n * width`.
        width: units of the fullest row.
        reach: keys that the queries of each quarter of the padded tensor may read, if causal.
    """

    rows: Int[Tensor, " n"]
    local: Int[Tensor, " N"]
    units: Int[Tensor, " N"]
    slots: Int[Tensor, " N"]
    width: int
    reach: list[int]

    @classmethod
    def of(cls, active: Active, past: int = 0) -> "Packing":
        """For units in order of row and position, with so many keys before the first position."""
        assert active.units is not None
        rows, local, counts = torch.unique_consecutive(
            active.rows, return_inverse=True, return_counts=True
        )
        first = counts.cumsum(0) - counts
        place = torch.arange(len(local), device=local.device) - first[local]
        width = int(counts.max())
        quarter = -(-width // 4)
        farthest = torch.zeros(-(-width // quarter), dtype=torch.long, device=local.device)
        farthest = farthest.scatter_reduce(0, place // quarter, active.units, "amax")
        reach = (farthest + 1 + past).tolist()
        return cls(rows, local, active.units, local * width + place, width, reach)

    def read(
        self,
        q: Float[Tensor, "1 h N c"],
        k: Float[Tensor, "n g s c"],
        v: Float[Tensor, "n g s c"],
        mask: Float[Tensor, "n 1 k s"] | None,
        causal: bool,
    ) -> Float[Tensor, "1 N d"]:
        """What the heads of each unit read, side by side."""
        queries, grouped = self._spread(q), q.shape[1] != k.shape[1]
        if not causal or mask is None:
            read = F.scaled_dot_product_attention(queries, k, v, attn_mask=mask, enable_gqa=grouped)
            return self._collect(read)
        size = -(-self.width // 4)
        parts = [
            F.scaled_dot_product_attention(
                queries[:, :, i * size : (i + 1) * size],
                k[:, :, :reach],
                v[:, :, :reach],
                attn_mask=mask[:, :, i * size : (i + 1) * size, :reach],
                enable_gqa=grouped,
            )
            for i, reach in enumerate(self.reach)
        ]
        return self._collect(torch.cat(parts, 2))

    def _spread(self, x: Float[Tensor, "1 h N c"]) -> Float[Tensor, "n h k c"]:
        """Units by row, padded with zeros."""
        heads, channels = x.shape[1], x.shape[3]
        padded = x.new_zeros(len(self.rows) * self.width, heads, channels)
        padded = padded.index_copy(0, self.slots, x[0].transpose(0, 1))
        return padded.view(-1, self.width, heads, channels).transpose(1, 2)

    def _collect(self, x: Float[Tensor, "n h k c"]) -> Float[Tensor, "1 N d"]:
        """The reverse, with the heads of a unit side by side."""
        return x.transpose(1, 2).flatten(2).flatten(0, 1)[self.slots][None]

    def mask(self, allowed: Bool[Tensor, "N s"], dtype: torch.dtype) -> Float[Tensor, "n 1 k s"]:
        """What to add to the logits of the padded queries, from what each unit may read."""
        padded = allowed.new_ones(len(self.rows) * self.width, allowed.shape[1])
        padded = padded.index_copy(0, self.slots, allowed).view(-1, 1, self.width, allowed.shape[1])
        return torch.zeros(padded.shape, dtype=dtype, device=padded.device).masked_fill(
            ~padded, float("-inf")
        )


class OwnKeys:
    """Keys and values of a call's own units by layer, while units of a row halt one after another.

    A unit that halts leaves the keys and values of its last loop behind (`kv="copy"`), or all units
    those of the first one (`kv="first"`), and the other units go on reading them.
    """

    def __init__(self) -> None:
        self._rows: Tensor | None = None  # of which there are keys; None: of all
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}  # [n h t c]

    def follow(self, rows: Int[Tensor, " n"]) -> None:
        """Forget the rows that are not among these."""
        if self._rows is None:
            chosen = rows
        elif len(rows) == len(self._rows):
            return
        else:
            chosen = torch.searchsorted(self._rows, rows)
        count = None if not self._kept else len(next(iter(self._kept.values()))[0])
        if count is not None and len(rows) != count:
            self._kept = {layer: (k[chosen], v[chosen]) for layer, (k, v) in self._kept.items()}
        self._rows = rows

    def of(self, layer: int) -> tuple[Tensor, Tensor]:
        """What is kept of a layer, `[n h t c]` each."""
        return self._kept[layer]

    def update(
        self, layer: int, k: Tensor, v: Tensor, packing: Packing | None, halted: Tensor | None
    ) -> tuple[Float[Tensor, "n h t c"], Float[Tensor, "n h t c"]]:
        """Those of all units, halted ones included, from those that were just computed.

        Args:
            layer: whose.
            k: keys, `[n h t c]`, or `[1 h N c]` of packed units.
            v: values alike.
            packing: of packed units.
            halted: units whose new keys do not count, `[n t]` or `[1 N]`; None: all count.
        """
        if packing is not None:
            old = self._kept[layer]
            k, v = (_written(*pair, packing, halted) for pair in zip(old, (k, v), strict=True))
        elif halted is not None and layer in self._kept:
            old, stays = self._kept[layer], halted[:, None, :, None]
            k, v = torch.where(stays, old[0], k), torch.where(stays, old[1], v)
        elif not torch.is_grad_enabled():
            self._copy(layer, k, v)
            return k, v
        self._kept[layer] = k, v
        return k, v

    def _copy(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Keep copies: to hold on to what was computed would cost fresh memory in every loop."""
        old = self._kept.get(layer)
        if old is None or old[0].shape != k.shape:
            self._kept[layer] = k.clone(), v.clone()
        else:
            old[0].copy_(k)
            old[1].copy_(v)


def _written(kept: Tensor, new: Tensor, packing: Packing, halted: Tensor | None) -> Tensor:
    """`kept [n h t c]` with the packed units of `new [1 h N c]` in their places, but for halted ones."""
    rows, heads, length, channels = kept.shape
    flat = kept.transpose(1, 2).reshape(rows * length, heads, channels)
    place, units = packing.local * length + packing.units, new[0].transpose(0, 1)
    if halted is not None:
        units = torch.where(halted[0, :, None, None], flat[place], units)
    if torch.is_grad_enabled():
        flat = flat.index_copy(0, place, units)
    else:  # nobody else reads these: they are of the loop before
        flat.index_copy_(0, place, units)
    return flat.view(rows, length, heads, channels).transpose(1, 2)

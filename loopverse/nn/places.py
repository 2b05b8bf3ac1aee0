"""Keys and values of texts that are each at a length and in a loop of their own."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from loopverse.depth import Staggered
from loopverse.nn.cache import KVCache, Slot

KEPT_IN_PLACES = ("copy", "last")
"""The `halting.kv` under which a unit never asks for more than its own row has run."""


class Places:
    """A number of places, each for one text, whose next units are looped together.

    A text is read with a `KVCache`, whose keys and values `admit` copies into a free place. From then on
    a call of the core with `CoreInput.places` takes the next unit of some texts along with those that are
    still under way, and returns as soon as some are done: `LoopResult.rows` says in which places. Each is
    in a loop of its own, so that no text waits for another; what becomes of it is what becomes of it
    alone. A place whose text has ended is free for `admit` again. After a call that failed, begin anew.

    Args:
        count: places.
        room: positions of the longest text.
    """

    def __init__(self, count: int, room: int) -> None:
        if count < 1 or room < 1:
            raise ValueError(
                f"places need at least one place of one position, got {count} of {room}"
            )
        self.count, self.room = count, room
        self.roster = Staggered()
        self.lengths = torch.zeros(count, dtype=torch.long)
        self.kv = "copy"
        self._stores: dict[int, Tensor] = {}  # by layer, [count loops room 2 h c]
        self._views: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self._units: dict[str, Tensor] = {}  # what those under way read, [count ...]

    def admit(self, place: int, cache: KVCache, row: int = 0) -> None:
        """Take over a text that was read: a row of a cache gets this place.

        Raises:
            ValueError: a text under way in this place, one that is too long, or one that was read with
                another number of loops than the others.
        """
        if place in self.roster.rows.tolist():
            raise ValueError(
                f"a text is under way in place {place}: admit to a place where none is"
            )
        self.lengths = self.lengths.to(cache.device)
        length = cache.count(row)
        if length > self.room:
            raise ValueError(
                f"a text of {length} positions does not fit in places of {self.room}: "
                "make them with more room"
            )
        part = slice(cache.length - length, cache.length)
        for layer, keys, values in cache.layers():  # [loops n h p c]
            store = self._store(layer, keys)
            for number, new in enumerate((keys, values)):
                store[place, :, :length, number] = new[:, row, :, part].transpose(1, 2)
        self.lengths[place] = length

    def begin(self, loops: int, kv: str, looped: range) -> None:
        """A call begins that may go so deep.

        Raises:
            ValueError: keys that places do not keep, or more loops than the texts were read with.
        """
        if kv not in KEPT_IN_PLACES:
            raise ValueError(
                f"texts that are each in a loop of their own cannot be read with halting.kv={kv}: use "
                "halting.kv=copy, or generate in lock step (places=0)"
            )
        self.kv = kv
        for layer in looped:
            known = self._stores[layer].shape[1] if layer in self._stores else 0
            if kv == "copy" and known < loops:
                raise ValueError(
                    f"the texts in these places were read with {known} loops, got {loops}: read and "
                    "continue them with the same number of loops"
                )

    def at(self, rows: Int[Tensor, " n"]) -> "At":
        """The next position of some texts."""
        rows = rows.to(self.lengths.device)
        return At(self, rows, self.lengths[rows])

    def keep(self, rows: Int[Tensor, " n"], **read: Tensor) -> None:
        """Keep what units that join read in every loop, each of the shape `[n ...]`."""
        for name, new in read.items():
            if name not in self._units:
                self._units[name] = new.new_zeros(self.count, *new.shape[1:])
            self._units[name][rows] = new

    def kept(self, name: str, rows: Int[Tensor, " n"]) -> Tensor | None:
        """What units under way read; None: none of them reads such a thing."""
        return self._units[name][rows] if name in self._units else None

    def advance(
        self, rows: Int[Tensor, " n"], depth: Int[Tensor, "n 1"], looped: range, loops: int
    ) -> None:
        """Units are done after so many loops: their keys stand for the loops that they did not run."""
        if self.kv == "copy":
            at = self.lengths[rows]
            later = (torch.arange(loops, device=rows.device) >= depth).nonzero()
            unit, loop = later[:, 0], later[:, 1]
            for layer in looped:
                store = self._stores[layer]
                last = store[rows, depth[:, 0] - 1, at]
                store[rows[unit], loop, at[unit]] = last[unit]
        self.lengths[rows] += 1

    def num_loops(self, layer: int) -> int:
        """For how many loops a layer has keys and values."""
        return self._stores[layer].shape[1]

    def write(
        self, layer: int, index: Int[Tensor, " n"], at: "At", keys: Tensor, values: Tensor
    ) -> None:
        """Put new keys and values `[n h 1 c]` where they belong."""
        flat = self._stores[layer].flatten(0, 1)
        flat.index_put_((index, at.positions), torch.stack([keys[:, :, 0], values[:, :, 0]], 1))

    def texts(self, layer: int) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of a layer, `[1 h room c]`, by place and then by loop."""
        if layer not in self._views:
            parts = self._stores[layer].flatten(0, 1).permute(0, 2, 3, 1, 4).unsqueeze(2)
            self._views[layer] = [(text[0], text[1]) for text in parts.unbind(0)]
        return self._views[layer]

    def gathered(
        self, layer: int, index: Int[Tensor, " n"], reach: int
    ) -> tuple[Float[Tensor, "n h s c"], Float[Tensor, "n h s c"]]:
        """A copy of some of `texts`, side by side, as far as the longest of them reaches."""
        flat = self._stores[layer].flatten(0, 1)
        found = flat[:, :reach].index_select(0, index)  # [n s 2 h c]
        k, v = found.permute(2, 0, 3, 1, 4).unbind(0)
        return k, v

    def _store(self, layer: int, keys: Tensor) -> Tensor:
        loops, _, heads, _, width = keys.shape
        store = self._stores.get(layer)
        if store is None:  # what is masked must be finite
            store = keys.new_zeros(self.count, loops, self.room, 2, heads, width)
            self._stores[layer] = store
        if store.shape[1] != loops:
            raise ValueError(
                f"the texts in these places were read with {store.shape[1]} loops, got one of {loops}: "
                "read all of them with the same number of loops"
            )
        return store


@dataclass
class At:
    """The next position of some of the texts in `Places`.

    Attributes:
        places: where they are.
        rows: which of them, `[n]`.
        positions: of their next units, `[n]`.
    """

    places: Places
    rows: Int[Tensor, " n"]
    positions: Int[Tensor, " n"]

    def __post_init__(self) -> None:
        self._ends = [position + 1 for position in self.positions.tolist()]
        self.reach = max(self._ends, default=0)
        self._known, self._loop = (0, 0), None  # what the next two are of
        self._index, self._which = self.rows, list[int]()
        if self.reach > self.places.room:
            raise ValueError(
                f"a text of {self.reach} positions does not fit in places of {self.places.room}: "
                "make them with more room"
            )

    def read(
        self,
        slot: Slot,
        q: Float[Tensor, "n h 1 c"],
        k: Float[Tensor, "n g 1 c"],
        v: Float[Tensor, "n g 1 c"],
    ) -> Float[Tensor, "n 1 d"]:
        """What the heads of each unit read in its own text, side by side; keys and values are kept.

        On the CPU text by text: the kernel then reads keys where they are and no further than the text
        goes, which is faster than to copy them side by side. Elsewhere a launch for each would be slower.
        """
        places, (layer, loop), grouped = self.places, slot, q.shape[1] != k.shape[1]
        looped = places.num_loops(layer)
        if self._known != (looped, id(loop)):  # the same for all looped layers
            self._index = self.rows * looped + (0 if places.kv == "last" else loop)
            self._known, self._loop = (looped, id(loop)), loop  # held, so that its id stays its own
            self._which = self._index.tolist()
        places.write(layer, self._index, self, k, v)
        if q.device.type == "cpu":
            texts = places.texts(layer)
            queries = q.unsqueeze(1).unbind(0)
            reads = [
                F.scaled_dot_product_attention(
                    query,
                    texts[text][0].narrow(2, 0, end),
                    texts[text][1].narrow(2, 0, end),
                    enable_gqa=grouped,
                )
                for query, text, end in zip(queries, self._which, self._ends, strict=True)
            ]
            read = torch.cat(reads) if len(reads) > 1 else reads[0]
        else:
            keys, values = places.gathered(layer, self._index, self.reach)
            mask = self._mask(q.dtype)
            read = F.scaled_dot_product_attention(q, keys, values, mask, enable_gqa=grouped)
        return read.transpose(1, 2).flatten(2)

    def _mask(self, dtype: torch.dtype) -> Float[Tensor, "n 1 1 s"]:
        """What to add to the logits: a text reads no further than its own length."""
        beyond = torch.arange(self.reach, device=self.rows.device) > self.positions[:, None]
        mask = torch.zeros(beyond.shape, dtype=dtype, device=beyond.device)
        return mask.masked_fill_(beyond, float("-inf"))[:, None, None]

"""The columns of a replay: a flat file of numbers for each thing that is recorded."""

import mmap
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from loopverse.errors import UserError
from loopverse_world_model.spaces import Leaf, leaves_of

if TYPE_CHECKING:
    from gymnasium import Space

RECORDS = "records"
MAP_NORESERVE = 0x4000
"""Of `mmap(2)` on Linux; Python has no name for it before 3.13."""


@dataclass(frozen=True)
class Column:
    """One thing that every record has.

    Attributes:
        key: where it is in a record.
        file: name of its file, without its ending.
        dtype: of its numbers.
        shape: of one record.
    """

    key: tuple[str, ...]
    file: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers in one record."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def nbytes(self) -> int:
        """Bytes of one record."""
        return self.size * self.dtype.itemsize

    def path(self, folder: Path) -> Path:
        """Its file in a replay."""
        return folder / RECORDS / f"{self.file}.memmap"

    def read(self, folder: Path, count: int) -> Tensor:
        """The first records, mapped into memory.

        The file is opened to be read only, and what is written into the tensor by mistake stays there.
        """
        if count == 0:
            return torch.empty(0, *self.shape, dtype=self.dtype)
        with self.path(folder).open("rb") as file:
            mapped = _map(file.fileno(), count * self.nbytes)
        return torch.frombuffer(mapped, dtype=self.dtype).view(count, *self.shape)


def _map(descriptor: int, length: int) -> mmap.mmap:
    """A private map. On Linux it says that no memory is to be set aside for changes.

    Otherwise data that are larger than the memory are refused (`torch.from_file` meets that).
    """
    if sys.platform != "linux":
        return mmap.mmap(descriptor, length, access=mmap.ACCESS_COPY)
    return mmap.mmap(
        descriptor,
        length,
        flags=mmap.MAP_PRIVATE | MAP_NORESERVE,
        prot=mmap.PROT_READ | mmap.PROT_WRITE,
    )


def columns_of(observation_space: "Space", action_space: "Space") -> list[Column]:
    """The columns of a replay of these spaces.

    Raises:
        UserError: a space that cannot be modelled, or a type that tensors do not have.
    """
    observed = leaves_of(observation_space, "observation")
    columns = [
        # Numbered, because names may differ in their case only, or hold what a file name cannot.
        _column(("observation", leaf.path), f"observation.{number}.{_word(leaf.path)}", leaf)
        for number, leaf in enumerate(observed)
    ]
    return [
        *columns,
        _column(("action",), "action", action_leaf(action_space)),
        Column(("reward",), "reward", torch.float32, ()),
        Column(("terminated",), "terminated", torch.bool, ()),
        Column(("episode",), "episode", torch.int64, ()),
    ]


def action_leaf(action_space: "Space") -> Leaf:
    """The only leaf of an action space.

    Raises:
        UserError: actions made of several parts.
    """
    leaves = leaves_of(action_space, "action")
    if len(leaves) != 1 or leaves[0].path != "value":
        raise UserError(
            f"actions made of {len(leaves)} parts cannot be modelled yet, got {action_space}: expected "
            "one Box, Discrete, MultiDiscrete or MultiBinary; join them in a gymnasium.ActionWrapper"
        )
    return leaves[0]


def _column(key: tuple[str, ...], file: str, leaf: Leaf) -> Column:
    try:
        dtype = torch.from_numpy(np.empty(0, leaf.dtype)).dtype
    except TypeError as error:
        raise UserError(
            f"cannot store {key[-1]!r} of type {leaf.dtype}: give it as one of float32, float64, "
            "uint8, int32 or int64, in a gymnasium.Wrapper"
        ) from error
    return Column(key, file, dtype, leaf.shape)


def _word(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", path)[:40]

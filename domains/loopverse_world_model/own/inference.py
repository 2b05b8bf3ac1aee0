"""The spaces that files imply which do not tell them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from loopverse.errors import UserError
from loopverse_world_model.own.files import Files

if TYPE_CHECKING:
    from gymnasium import Space


def inferred(files: Files) -> tuple[Space, Space]:
    """The spaces that numbers imply.

    Numbers with a fraction are a Box: without bounds for observations, and of the range that was seen for
    actions, because a planner searches within bounds. Bytes are a Box from 0 to 255, an image where they
    have the shape of one. Whole numbers are as many categories as the largest needs, truth values are bits.

    Raises:
        UserError: files that do not agree, or a type that is none of these.
    """
    ranges: dict[str, _Range] = {}
    first, paths = "", []
    for given in files.read():
        values = {f"observation {path!r}": array for path, array in given.observation.items()}
        values["action"] = given.action
        if not ranges:
            first, paths = given.name, list(given.observation)
            ranges = {name: _Range.of(name, array, first) for name, array in values.items()}
        _compare(ranges, values, first, given.name)
        for name, array in values.items():
            ranges[name].widen(array)
    observation = {path: ranges[f"observation {path!r}"].space(bounded=False) for path in paths}
    return _tree(observation), ranges["action"].space(bounded=True)


def _compare(
    ranges: Mapping[str, _Range], values: Mapping[str, np.ndarray], first: str, name: str
) -> None:
    """Refuse an episode that is not of the same spaces as the first."""
    if set(ranges) != set(values):
        raise UserError(
            f"{first} has {', '.join(sorted(ranges))}, and {name} has {', '.join(sorted(values))}: "
            "expected episodes of the same spaces in one folder"
        )
    for key, known in ranges.items():
        array = values[key]
        if (array.dtype, array.shape[1:]) != (known.dtype, known.shape):
            raise UserError(
                f"the {key} of {first} is {known.dtype} of shape {list(known.shape)}, that of {name} is "
                f"{array.dtype} of shape {list(array.shape[1:])}: expected episodes of the same spaces "
                "in one folder"
            )


@dataclass
class _Range:
    """What values of one kind there are."""

    dtype: np.dtype
    shape: tuple[int, ...]
    low: Any
    high: Any

    @classmethod
    def of(cls, name: str, array: np.ndarray, where: str) -> _Range:
        if array.dtype.kind not in "fiub" or array.ndim == 0 or len(array) == 0:
            raise UserError(
                f"the {name} of {where} is {array.dtype} of shape {list(array.shape)}, expected numbers "
                "or truth values, one for each step"
            )
        return cls(array.dtype, array.shape[1:], array.min(0), array.max(0))

    def widen(self, array: np.ndarray) -> None:
        if len(array):
            self.low = np.fmin(self.low, array.min(0))
            self.high = np.fmax(self.high, array.max(0))

    def space(self, *, bounded: bool) -> Space:
        from gymnasium import spaces

        kind = self.dtype.kind
        if kind == "f":
            low, high = (self.low, self.high) if bounded else (-np.inf, np.inf)
            return spaces.Box(low, high, self.shape, self.dtype.type)
        if self.dtype == np.uint8 and self.shape:
            return spaces.Box(0, 255, self.shape, np.uint8)
        if kind == "b" and self.shape:
            return spaces.MultiBinary(self.shape[0] if len(self.shape) == 1 else self.shape)
        low = min(int(np.min(self.low)), 0)
        if self.shape and low == 0:
            return spaces.MultiDiscrete(np.asarray(self.high, np.int64) + 1)
        if self.shape:
            raise UserError(f"whole numbers below 0, down to {low}, in arrays: give their space")
        return spaces.Discrete(int(self.high) - low + 1, start=low)


def _tree(leaves: Mapping[str, Space]) -> Space:
    """Spaces by path as one space."""
    from gymnasium import spaces

    if set(leaves) == {"value"}:
        return leaves["value"]
    branches: dict[str, dict[str, Space]] = {}
    for path, space in leaves.items():
        head, _, rest = path.partition(".")
        branches.setdefault(head, {})[rest or "value"] = space
    return spaces.Dict({name: _tree(branch) for name, branch in branches.items()})

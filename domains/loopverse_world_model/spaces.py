"""Spaces of observations and actions: what they are made of, as text, and values in and out of them.

Any tree of Dict and Tuple over Box, Discrete, MultiDiscrete and MultiBinary is a handful of leaves,
each with a path such as `arm.0.angle`; a space that is no tree is one leaf, `value`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from loopverse.errors import UserError

if TYPE_CHECKING:  # an import of gymnasium is asked for by what makes or is an environment, only
    from gymnasium import Space

Kind = Literal["vector", "image", "categories", "bits"]
MOST_CATEGORIES = 4096
"""A category is read as a one-hot vector; more of them are surely a number in disguise."""
SMALLEST_IMAGE = 8
"""Pixels of a side below which an array of bytes is a vector."""


@dataclass(frozen=True)
class Leaf:
    """One piece of an observation, or an action.

    Attributes:
        path: names and numbers that lead to it, joined by dots; `value` where it is all there is.
        kind: `vector` (real numbers), `image` (`[height width channels]` of bytes), `categories`
            (whole numbers, each one of a few), `bits` (zeros and ones).
        shape: of one value, as the environment gives it.
        dtype: numpy's name of its type.
        low: smallest value, `[shape]` flattened, or one number for all; minus infinity where there is none.
        high: the same for the largest.
        sizes: how many categories each number has, one per number of `shape`.
        start: the smallest category.
    """

    path: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    sizes: tuple[int, ...] = ()
    start: int = 0

    @property
    def size(self) -> int:
        """Numbers in one value."""
        return math.prod(self.shape)

    @property
    def name(self) -> str:
        """The path as a name of a module, which has no dots."""
        return self.path.replace("%", "%25").replace(".", "%2E")


def leaves_of(space: Space, what: str) -> tuple[Leaf, ...]:
    """The leaves of a space, in the order of its tree.

    Args:
        space: of gymnasium.
        what: what it is the space of, for messages: "observation" or "action".

    Raises:
        UserError: a space, or a part of one, that is not made of those named above.
    """
    leaves = tuple(_leaf(path, part, what) for path, part in _walk(space, ""))
    paths = [leaf.path for leaf in leaves]
    if len(set(paths)) < len(paths) or not paths:
        raise UserError(
            f"the parts of the {what} space are called {', '.join(paths) or 'nothing'}, expected one or "
            "more names, all different: rename them in a gymnasium.Wrapper"
        )
    return leaves


def flatten(space: Space, value: Any) -> dict[str, np.ndarray]:
    """The leaves of a value by path; values of a vector environment keep their first axis."""
    return {path: np.asarray(_at(value, path)) for path, _ in _walk(space, "")}


def unflatten(space: Space, leaves: Mapping[str, Any]) -> Any:
    """The value of a space, or a batch of them, from its leaves: the inverse of `flatten`."""
    return _rebuilt(space, "", leaves)


def space_to_json(space: Space) -> str:
    """A space as one line of text, from which `space_from_json` makes it again.

    Raises:
        UserError: a space that is not made of those named above.
    """
    return json.dumps(_described(space), separators=(",", ":"))


def space_from_json(text: str) -> Space:
    """The space that `space_to_json` wrote.

    Raises:
        UserError: text that it did not write.
    """
    try:
        return _made(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"cannot read a space from {text[:60]!r}: expected what `loopverse` wrote there, such as "
            '{"space":"Discrete","n":2,"start":0}'
        ) from error


def _walk(space: Space, path: str) -> Iterator[tuple[str, Space]]:
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            yield from _walk(part, f"{path}.{name}" if path else str(name))
    elif isinstance(space, spaces.Tuple):
        for number, part in enumerate(space.spaces):
            yield from _walk(part, f"{path}.{number}" if path else str(number))
    else:
        yield path or "value", space


def _at(value: Any, path: str) -> Any:
    """What a path leads to in a nested value; keys may hold dots themselves."""
    while isinstance(value, dict | tuple):
        if isinstance(value, tuple):
            head, _, path = path.partition(".")
            value = value[int(head)]
        else:
            head = next(key for key in value if path == str(key) or path.startswith(f"{key}."))
            value, path = value[head], path[len(str(head)) + 1 :]
    return value


def _rebuilt(space: Space, path: str, leaves: Mapping[str, Any]) -> Any:
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        parts = space.spaces.items()
        return {k: _rebuilt(part, f"{path}.{k}" if path else str(k), leaves) for k, part in parts}
    if isinstance(space, spaces.Tuple):
        parts = enumerate(space.spaces)
        return tuple(_rebuilt(part, f"{path}.{n}" if path else str(n), leaves) for n, part in parts)
    return leaves[path or "value"]


def _leaf(path: str, space: Space, what: str) -> Leaf:
    from gymnasium import spaces

    kind: Kind
    if isinstance(space, spaces.Box):
        image = space.dtype == np.uint8 and _is_image(space.shape)
        kind = "image" if image else "vector"
        low, high = _short(space.low), _short(space.high)
        return Leaf(path, kind, space.shape, str(space.dtype), low, high)
    if isinstance(space, spaces.Discrete):
        sizes = _few(path, (int(space.n),), what)
        return Leaf(path, "categories", (), str(space.dtype), sizes=sizes, start=int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        if np.any(space.start):
            raise _refused(path, space, what, "shift it to start at 0 in a wrapper")
        sizes = _few(path, tuple(int(n) for n in space.nvec.flatten()), what)
        return Leaf(path, "categories", space.shape, str(space.dtype), sizes=sizes)
    if isinstance(space, spaces.MultiBinary):
        return Leaf(path, "bits", space.shape, str(space.dtype))
    raise _refused(
        path,
        space,
        what,
        "turn it into a Box, Discrete, MultiDiscrete or MultiBinary, or a Dict or Tuple of these, in "
        "a gymnasium.Wrapper",
    )


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and min(shape[:2]) >= SMALLEST_IMAGE and shape[2] in (1, 3, 4)


def _few(path: str, sizes: tuple[int, ...], what: str) -> tuple[int, ...]:
    if max(sizes) > MOST_CATEGORIES:
        raise UserError(
            f"the {what} {path!r} has {max(sizes)} categories, expected at most {MOST_CATEGORIES}: "
            "give it as a Box of numbers or as several smaller categories, in a gymnasium.Wrapper"
        )
    return sizes


def _refused(path: str, space: Space, what: str, remedy: str) -> UserError:
    where = f" at {path!r}" if path != "value" else ""
    return UserError(f"cannot model the {what} space {space}{where}: {remedy}")


def _short(values: np.ndarray) -> tuple[float, ...]:
    """One number where all are the same, so that bounds of an image stay readable."""
    flat = [float(value) for value in np.asarray(values).flatten()]
    return tuple(flat[:1]) if len(set(flat)) <= 1 else tuple(flat)


def _described(space: Space) -> dict[str, Any]:
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        return {"space": "Dict", "of": {k: _described(part) for k, part in space.spaces.items()}}
    if isinstance(space, spaces.Tuple):
        return {"space": "Tuple", "of": [_described(part) for part in space.spaces]}
    leaf = _leaf("value", space, "given")
    kind = {"space": type(space).__name__}
    if isinstance(space, spaces.Discrete):
        return {**kind, "n": leaf.sizes[0], "start": leaf.start}
    if isinstance(space, spaces.MultiDiscrete):
        return {**kind, "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {**kind, "n": space.n if isinstance(space.n, int) else list(space.shape)}
    bounds = {"low": list(leaf.low), "high": list(leaf.high)}
    return {**kind, "shape": list(leaf.shape), "dtype": leaf.dtype, **bounds}


def _made(description: dict[str, Any]) -> Space:
    from gymnasium import spaces

    kind = description["space"]
    if kind == "Dict":
        return spaces.Dict({k: _made(part) for k, part in description["of"].items()})
    if kind == "Tuple":
        return spaces.Tuple([_made(part) for part in description["of"]])
    if kind == "Discrete":
        return spaces.Discrete(description["n"], start=description["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(np.array(description["nvec"]))
    if kind == "MultiBinary":
        return spaces.MultiBinary(description["n"])
    if kind != "Box":
        raise ValueError(kind)
    shape, dtype = tuple(description["shape"]), np.dtype(description["dtype"])
    low, high = (
        np.broadcast_to(np.array(description[side]), (int(np.prod(shape, dtype=int)),)).reshape(
            shape
        )
        for side in ("low", "high")
    )
    return spaces.Box(low.astype(dtype), high.astype(dtype), shape, dtype.type)

"""HDF5 files in Minari's layout, read without Minari: a group `episode_N` for each episode.

    observations   [t+1 ...]; a group of such, by name or `_index_N`, for a Dict or a Tuple
    actions, rewards, terminations, truncations   [t ...]

Beside the file a data set of Minari has `metadata.json`, which tells the spaces, and whether images
are kept as JPEG. Source: minari 0.5, `dataset/_storages/hdf5_storage.py` and `serialization.py`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loopverse.errors import UserError
from loopverse_world_model.own.files import Files, Given
from loopverse_world_model.spaces import leaves_of

if TYPE_CHECKING:
    from gymnasium import Space

ENDINGS = (".hdf5", ".h5")
KEYS = ("observations", "actions", "rewards", "terminations")


class MinariFiles(Files):
    """The episodes of HDF5 files.

    Args:
        paths: the files.

    Raises:
        UserError: h5py is missing, or a file is not HDF5 or holds no episode.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._groups = [(path, group) for path in paths for group in _groups(path)]

    def __len__(self) -> int:
        return len(self._groups)

    def read(self, start: int = 0) -> Iterator[Given]:
        h5py = _h5py()
        policy = str(self._metadata.get("algorithm_name") or "given")
        for path, name in self._groups[start:]:
            with h5py.File(path, "r") as file:
                yield self._given(file[name], f"{path.name}:{name}", policy)

    def spaces(self) -> tuple[Space, Space] | None:
        try:
            texts = [self._metadata[f"{name}_space"] for name in ("observation", "action")]
        except KeyError:
            return None
        observation, action = (_space(json.loads(text)) for text in texts)
        return observation, action

    @cached_property
    def _metadata(self) -> dict[str, Any]:
        path = self.paths[0].parent / "metadata.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UserError(f"cannot read {path}: {error}") from error

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one observation, by leaf, where they are known."""
        spaces = self.spaces()
        return (
            {leaf.path: leaf.shape for leaf in leaves_of(spaces[0], "observation")}
            if spaces
            else {}
        )

    def _given(self, group: Any, name: str, policy: str) -> Given:
        if missing := [key for key in KEYS if key not in group]:
            raise UserError(
                f"{name} lacks {', '.join(missing)}; it has {', '.join(group)}: expected the layout of "
                "Minari"
            )
        observation = {
            path: self._decoded(path, array) for path, array in _leaves(group["observations"])
        }
        actions = dict(_leaves(group["actions"]))
        if set(actions) != {"value"}:
            raise UserError(
                f"the actions of {name} have the parts {', '.join(actions)}, expected one array: "
                "actions made of several parts cannot be modelled yet"
            )
        return Given(
            name,
            observation,
            actions["value"],
            group["rewards"][()],
            group["terminations"][()].astype(bool),
            policy,
            int(group.attrs.get("seed", -1)),
        )

    def _decoded(self, path: str, array: np.ndarray) -> np.ndarray:
        """Pictures, where JPEG bytes are."""
        shape = self._shapes.get(path)
        if shape is None or array.shape[1:] == shape or array.dtype.kind not in "Ou":
            return array
        from PIL import Image

        pictures = [np.asarray(Image.open(io.BytesIO(picture.tobytes()))) for picture in array]
        return np.stack(pictures).reshape(-1, *shape)


def _groups(path: Path) -> list[str]:
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            names = [name for name in file if name.removeprefix("episode_").isdigit()]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}; expected an HDF5 file") from error
    if not names:
        raise UserError(f"{path} has no groups episode_0, episode_1, ...: expected Minari's layout")
    return sorted(names, key=lambda name: int(name.removeprefix("episode_")))


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, np.ndarray]]:
    if hasattr(node, "keys"):
        for name in node:
            part = name.removeprefix("_index_")
            yield from _leaves(node[name], f"{path}.{part}" if path else part)
    else:
        yield path or "value", node[()]


def _space(description: dict[str, Any]) -> Space:
    """The space that Minari's metadata describe."""
    from gymnasium import spaces

    kind = description["type"]
    if kind == "Dict":
        return spaces.Dict({k: _space(part) for k, part in description["subspaces"].items()})
    if kind == "Tuple":
        return spaces.Tuple([_space(part) for part in description["subspaces"]])
    if kind == "Discrete":
        return spaces.Discrete(description["n"], start=description.get("start", 0))
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(
            np.array(description["nvec"]), start=np.array(description.get("start", 0))
        )
    if kind == "MultiBinary":
        return spaces.MultiBinary(description["n"])
    if kind != "Box":
        raise UserError(
            f"cannot model the space {kind} of a data set, expected Box, Discrete, MultiDiscrete, "
            "MultiBinary, or a Dict or Tuple of these"
        )
    dtype = np.dtype(description["dtype"])
    low, high = (np.array(description[side], dtype) for side in ("low", "high"))
    return spaces.Box(low, high, tuple(description["shape"]), dtype.type)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UserError('reading HDF5 needs h5py: pip install "loopverse[hdf5]"') from error
    return h5py

"""A folder of `.npz` files, each of which holds one episode.

observation or observation.PATH   [t+1 ...], one more than there are actions
action                            [t ...]
reward                            [t]
terminated                        [t], or one value: whether the last action led to a terminal state
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopverse.errors import UserError
from loopverse_world_model.own.files import Files, Given

if TYPE_CHECKING:
    from gymnasium import Space

KEYS = ("action", "reward", "terminated")


class NpzFiles(Files):
    """The `.npz` files of a folder, in the order of their names."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.npz"))

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, start: int = 0) -> Iterator[Given]:
        for path in self.paths[start:]:
            yield _given(path)

    def spaces(self) -> tuple[Space, Space] | None:
        return None


def _given(path: Path) -> Given:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(
            f"cannot read {path}: {error}; expected what numpy.savez writes of arrays of numbers"
        ) from error
    observation = {
        key.removeprefix("observation").removeprefix(".") or "value": array
        for key, array in arrays.items()
        if key == "observation" or key.startswith("observation.")
    }
    missing = [key for key in KEYS if key not in arrays]
    if not observation:
        missing.insert(0, "observation (or observation.NAME for each part)")
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays) or 'nothing'}: name its "
            "arrays so"
        )
    terminated = arrays["terminated"].astype(bool)
    if terminated.ndim == 0:  # of the whole episode
        flags = np.zeros(arrays["reward"].shape, bool)
        flags[-1:] = terminated
        terminated = flags
    return Given(path.name, observation, arrays["action"], arrays["reward"], terminated)

"""Data of the user's own as a replay: a folder of episodes becomes one, in the cache."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from loopverse.errors import UserError
from loopverse_world_model.index import SPACES
from loopverse_world_model.kept import kept
from loopverse_world_model.own.files import Files
from loopverse_world_model.own.inference import inferred
from loopverse_world_model.own.minari import ENDINGS, MinariFiles
from loopverse_world_model.own.npz import NpzFiles
from loopverse_world_model.recorder import Recorder
from loopverse_world_model.replay import Replay
from loopverse_world_model.spaces import space_to_json

if TYPE_CHECKING:
    from gymnasium import Space


def opened(
    folder: str | Path,
    *,
    observation_space: Space | None = None,
    action_space: Space | None = None,
) -> Replay:
    """The episodes in a folder: a replay, `.npz` files, or HDF5 in Minari's layout.

    Files of others are copied into a replay once; its place in the cache follows from what they hold.

    Args:
        folder: what to read; a single HDF5 file, too.
        observation_space: of the files; None: what they say themselves, or what their numbers imply.
        action_space: the same for actions.

    Raises:
        UserError: nothing to read, or something that cannot be learnt from.
    """
    folder = Path(folder).expanduser()
    if (folder / SPACES).exists():
        return Replay.open(folder)
    files = _files(folder)

    def fill(place: Path) -> None:
        told = observation_space, action_space
        if None in told:
            own = files.spaces() or inferred(files)
            told = observation_space or own[0], action_space or own[1]
        assert told[0] is not None
        assert told[1] is not None
        try:
            with Recorder(place, told[0], told[1]) as recorder:
                for given in files.read(len(recorder.episodes)):
                    recorder.append(given.recording(), given.name)
        except UserError:  # the files are wrong, and under this key they will be for ever
            shutil.rmtree(place, ignore_errors=True)
            raise

    named = [space and space_to_json(space) for space in (observation_space, action_space)]
    key = f"{_digest(files)} {json.dumps(named)}"
    return kept(key, lambda replay: replay.num_episodes == len(files), fill)


def _files(folder: Path) -> Files:
    if not folder.exists():
        raise UserError(f"there is no {folder}: expected a folder of episodes (domain.data)")
    if folder.suffix in ENDINGS:
        return MinariFiles([folder])
    for place in (folder, folder / "data"):  # Minari keeps its file in `data`
        if paths := sorted(path for path in place.iterdir() if path.suffix in ENDINGS):
            return MinariFiles(paths)
        if any(place.glob("*.npz")):
            return NpzFiles(place)
        if not (folder / "data").is_dir():
            break
    raise UserError(
        f"{folder} holds no episodes: expected a replay ({SPACES}), .npz files, or an HDF5 file in "
        "Minari's layout"
    )


def _digest(files: Files) -> str:
    """Of names and contents, and of the description beside them."""
    total = hashlib.sha256()
    for path in (*files.paths, files.paths[0].parent / "metadata.json"):
        if path.exists():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{path.name} {content}\n".encode())
    return total.hexdigest()

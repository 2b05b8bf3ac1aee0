"""Appends whole episodes to a replay, so that a kill at any moment leaves a replay of whole episodes."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import torch
from filelock import FileLock
from tensordict import TensorDict

from loopverse.errors import UserError
from loopverse_world_model.columns import RECORDS, Column, action_leaf, columns_of
from loopverse_world_model.episode import Episode, Recording
from loopverse_world_model.index import (
    EPISODES,
    SPACES,
    read_episodes,
    read_spaces,
    write_spaces,
)
from loopverse_world_model.spaces import leaves_of, space_to_json

if TYPE_CHECKING:
    from gymnasium import Space
    from torchrl.data import LazyMemmapStorage

LOCK = ".lock"
FEWEST = 1024
"""Records that are reserved at first; then a quarter of what there is."""
SYNC_EVERY = 1.0
"""Seconds of work that a kill may cost. To bring every episode to the disk by itself takes longer than
to play it."""


class Recorder:
    """The one process that writes a replay; readers beside it see what was committed.

    Records go through torchrl's `LazyMemmapStorage`, at their place behind the last whole episode; then
    the files are brought to the disk, and then the index gets its lines. What a kill left behind the
    last episode of the index is written over.

    Use it as a context manager.

    Args:
        folder: of the replay; made if it is not there.
        observation_space: of the environment.
        action_space: of the environment.

    Raises:
        UserError: the folder holds a replay of other spaces, or cannot be written.
    """

    def __init__(self, folder: Path, observation_space: Space, action_space: Space) -> None:
        self.folder = folder
        self.columns = columns_of(observation_space, action_space)
        self._observed = leaves_of(observation_space, "observation")
        self._acted = action_leaf(action_space)
        self._storage: LazyMemmapStorage | None = None
        self._capacity = 0
        self._waiting: list[Episode] = []
        with self._writing():
            (folder / RECORDS).mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / LOCK)
            self._lock.acquire()
        try:
            with self._writing():
                self._claim(observation_space, action_space)
            self.episodes = read_episodes(folder)
            with self._writing():
                self._drop_unfinished_line()
            self._end = sum(episode.length + 1 for episode in self.episodes)
            self._synced = time.monotonic()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def num_transitions(self) -> int:
        """Of all whole episodes."""
        return self._end - len(self.episodes)

    def append(self, recording: Recording, where: str = "") -> Episode:
        """Write an episode behind the others.

        Args:
            recording: the episode.
            where: what errors call it, if not by its number.

        Raises:
            UserError: an episode that could not be learnt from, or the disk is full.
        """
        number = len(self.episodes)
        recording.check(self._observed, self._acted, where or f"episode {number}")
        episode = recording.entry(number)
        with self._writing():
            end = self._end + episode.length + 1
            if end > self._capacity:
                self._reserve(max(end, self._end * 5 // 4, FEWEST))
            assert self._storage is not None
            with _quiet():
                self._storage.set(slice(self._end, end), self._records(recording, number))
            self._end = end
            self.episodes.append(episode)
            self._waiting.append(episode)
            if time.monotonic() - self._synced > SYNC_EVERY:
                self.commit()
        return episode

    def commit(self) -> None:
        """Bring what was appended to the disk, then into the index."""
        if self._waiting:
            for column in self.columns:
                _sync(column.path(self.folder))
            lines = "".join(json.dumps(asdict(episode)) + "\n" for episode in self._waiting)
            with (self.folder / EPISODES).open("a", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            self._waiting.clear()
        self._synced = time.monotonic()

    def close(self) -> None:
        """Commit, give back what was reserved and not used, and let others write."""
        try:
            with self._writing():
                self.commit()
                if self._storage is not None:
                    self._storage = None
                    for column in self.columns:
                        os.truncate(column.path(self.folder), self._end * column.nbytes)
                    # It tells of a size that is no longer so. The spaces say all that it said.
                    (self.folder / RECORDS / "meta.json").unlink()
        finally:
            self._lock.release()

    def _claim(self, observation_space: Space, action_space: Space) -> None:
        """Say what the replay holds, or see that it is the same."""
        if not (self.folder / SPACES).exists():
            write_spaces(self.folder, observation_space, action_space)
            return
        for what, held, given in zip(
            ("observations", "actions"),
            read_spaces(self.folder),
            (observation_space, action_space),
            strict=True,
        ):
            if space_to_json(held) != space_to_json(given):
                raise UserError(
                    f"{self.folder} holds {what} of {held}, and these are of {given}: "
                    "collect into another folder"
                )

    def _drop_unfinished_line(self) -> None:
        path = self.folder / EPISODES
        if path.exists():
            text = path.read_bytes()
            os.truncate(path, text.rfind(b"\n") + 1)

    def _reserve(self, capacity: int) -> None:
        """Make room on the disk and map it.

        Room is made by ordinary writes: to find the disk full while writing through a map kills.
        """
        from torchrl.data import LazyMemmapStorage

        for column in self.columns:
            _fill(column.path(self.folder), capacity * column.nbytes)
        self._storage = LazyMemmapStorage(
            capacity, scratch_dir=self.folder / RECORDS, existsok=True
        )
        self._capacity = capacity

    def _records(self, recording: Recording, number: int) -> TensorDict:
        """One record for each observation; the last has no action, and zeros in its place."""
        steps = len(recording.reward)
        terminated = np.zeros(steps, bool)
        terminated[-1] = recording.terminated
        given: dict[tuple[str, ...], np.ndarray] = {
            ("action",): _and_zero(recording.action),
            ("reward",): _and_zero(recording.reward),
            ("terminated",): _and_zero(terminated),
            ("episode",): np.full(steps + 1, number),
        }
        given |= {("observation", path): value for path, value in recording.observation.items()}
        records = {column.file: _tensor(given[column.key], column) for column in self.columns}
        return TensorDict(records, batch_size=[steps + 1])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write the replay {self.folder}: {(error.strerror or str(error)).lower()}; "
                "episodes that are whole are kept, and collecting goes on from there"
            ) from error


def _and_zero(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, np.zeros_like(values[:1])])


def _tensor(values: np.ndarray, column: Column) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(column.dtype)


def _fill(path: Path, size: int) -> None:
    """Lengthen a file by zeros that take their place on the disk."""
    block = bytes(1 << 20)
    with path.open("ab") as file:
        missing = size - file.tell()
        while missing > 0:
            missing -= file.write(block[:missing])


def _sync(path: Path) -> None:
    """Bring a file to the disk; on Linux also what was written through a map of it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torchrl from telling of every storage that it makes."""
    logger = logging.getLogger("torchrl")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)

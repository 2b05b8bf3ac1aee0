"""A replay: episodes on disk, mapped into memory, as one long table of records."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from tensordict import TensorDict
from torch import Tensor

from loopverse.errors import UserError
from loopverse_world_model.columns import columns_of
from loopverse_world_model.episode import Episode
from loopverse_world_model.index import read_episodes, read_spaces

if TYPE_CHECKING:
    from gymnasium import Space


@dataclass
class Replay:
    """The episodes that were whole when the folder was opened; it may grow meanwhile.

    A record is an observation and what followed it:
        observation   by leaf, raw
        action        raw; zeros in the last record of an episode
        reward        of that action; 0 in the last record
        terminated    whether that action ended the episode in a terminal state; false in the last one
        episode       number of the episode

    Attributes:
        folder: where it is.
        observation_space: of what is observed.
        action_space: of what is done.
        episodes: what is known of each.
    """

    folder: Path
    observation_space: Space
    action_space: Space
    episodes: list[Episode] = field(repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> Replay:
        """The replay in a folder; reading it disturbs nobody who writes there.

        Raises:
            UserError: there is none, or a part of it is missing.
        """
        folder = Path(folder)
        observation_space, action_space = read_spaces(folder)
        replay = cls(folder, observation_space, action_space, read_episodes(folder))
        replay._check_files()
        return replay

    @property
    def num_episodes(self) -> int:
        """All of them whole."""
        return len(self.episodes)

    @property
    def num_records(self) -> int:
        """One more for each episode than transitions."""
        return int(self.starts[-1])

    @property
    def num_transitions(self) -> int:
        """In all episodes."""
        return self.num_records - self.num_episodes

    @cached_property
    def lengths(self) -> Int[np.ndarray, " e"]:
        """Transitions of each episode."""
        return np.array([episode.length for episode in self.episodes], np.int64)

    @cached_property
    def starts(self) -> Int[np.ndarray, " e1"]:
        """The first record of each episode, and the number of records."""
        return np.concatenate([[0], (self.lengths + 1).cumsum()])

    @cached_property
    def records(self) -> TensorDict:
        """All records, as they lie on disk."""
        count = self.num_records
        values: dict[str, Tensor | TensorDict] = {}
        observation: dict[str, Tensor] = {}
        for column in columns_of(self.observation_space, self.action_space):
            home = observation if column.key[0] == "observation" else values
            home[column.key[-1]] = column.read(self.folder, count)
        values["observation"] = TensorDict(observation, batch_size=[count])
        return TensorDict(values, batch_size=[count])

    def episode(self, number: int) -> TensorDict:
        """The records of one episode, one more than it has transitions."""
        return self.records[self.starts[number] : self.starts[number + 1]]

    def first(self, count: int) -> Replay:
        """The replay as it was when it had so many episodes: a run that says how many stays the same.

        Raises:
            UserError: it has fewer.
        """
        if not 1 <= count <= self.num_episodes:
            raise UserError(
                f"{self.folder} has {self.num_episodes} episodes, and {count} were asked for: "
                "collect more, or ask for between 1 and as many as there are"
            )
        return Replay(self.folder, self.observation_space, self.action_space, self.episodes[:count])

    def held_out(self, fraction: float) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " v"]]:
        """Numbers of the episodes to train on, and of those that are kept for evaluation.

        Episode 0 is trained on and episode 1 is held out, so that there is one of each; for every other
        one a hash of its number decides. So it stays where it is while the replay grows, and nothing
        that recurs among the episodes can fall together with the choice.

        Args:
            fraction: share of the episodes that is held out, between 0 and 1.

        Raises:
            UserError: there are fewer than two episodes.
        """
        if not 0 < fraction < 1:
            raise UserError(f"the share held out must be between 0 and 1, got {fraction}")
        if self.num_episodes < 2:
            raise UserError(
                f"{self.folder} has {self.num_episodes} episode, expected at least 2, one to train on "
                "and one to evaluate on: collect more transitions, or cut episodes off sooner"
            )
        held = np.array([_held_out(number, fraction) for number in range(self.num_episodes)])
        return np.flatnonzero(~held), np.flatnonzero(held)

    def _check_files(self) -> None:
        for column in columns_of(self.observation_space, self.action_space):
            path, expected = column.path(self.folder), self.num_records * column.nbytes
            size = path.stat().st_size if path.exists() else 0
            if size < expected:
                raise UserError(
                    f"the replay {self.folder} is damaged: {path.name} has {size} bytes, its "
                    f"{self.num_episodes} episodes need {expected}: copy it again or collect it anew"
                )


def _held_out(number: int, fraction: float) -> bool:
    if number < 2:
        return number == 1
    digest = hashlib.sha256(f"held out {number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64

"""Files of episodes: what every kind of them answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopverse.errors import UserError
from loopverse_world_model.episode import Recording

if TYPE_CHECKING:
    from gymnasium import Space


@dataclass
class Given:
    """One episode as a file gives it, before its spaces are known.

    Attributes:
        name: of the file, and of the place in it.
        observation: by leaf, `[t+1 ...]`.
        action: `[t ...]`.
        reward: `[t]`.
        terminated: `[t]`.
        policy: who acted, if that is known.
        seed: of the environment, -1 if not known.
    """

    name: str
    observation: dict[str, np.ndarray]
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    policy: str = "given"
    seed: int = -1

    def recording(self) -> Recording:
        """The episode as a replay keeps it.

        Raises:
            UserError: it is said to end before its end, or its flags are not one per reward.
        """
        steps = self.reward.shape[0] if self.reward.ndim else 0
        if self.terminated.shape != (steps,):
            raise UserError(
                f"terminated of {self.name} has shape {list(self.terminated.shape)}, expected "
                f"{[steps]}, one for each reward"
            )
        ends = np.flatnonzero(self.terminated)
        if len(ends) and ends[0] != steps - 1:
            raise UserError(
                f"{self.name} is terminated at step {ends[0]} of {steps}, before its end: one file or "
                "group holds one episode, so split it there"
            )
        return Recording(
            self.observation,
            self.action,
            self.reward,
            bool(len(ends)),
            self.policy,
            self.seed,
        )


class Files(ABC):
    """Files that hold episodes.

    Attributes:
        paths: all files, in the order of their episodes.
    """

    paths: Sequence[Path]

    @abstractmethod
    def __len__(self) -> int:
        """Episodes."""

    @abstractmethod
    def read(self, start: int = 0) -> Iterator[Given]:
        """The episodes from `start` on.

        Raises:
            UserError: a file that cannot be read, or lacks a key.
        """

    @abstractmethod
    def spaces(self) -> tuple[Space, Space] | None:
        """What the files themselves say of observations and actions; None: nothing."""

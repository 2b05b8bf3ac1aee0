"""Replays for tests: of episodes whose numbers can be told apart."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gymnasium import spaces

from loopverse_world_model.episode import Recording
from loopverse_world_model.recorder import Recorder
from loopverse_world_model.replay import Replay

OBSERVED = spaces.Box(-np.inf, np.inf, (2,), np.float64)
DONE = spaces.Discrete(5)


def recording(number: int, length: int) -> Recording:
    """An episode that observes `(number, step)`; it terminates if its number is even."""
    steps = np.arange(length + 1)
    observation = np.stack([np.full(length + 1, number), steps], 1).astype(np.float64)
    rewards = (steps[1:] + 100 * number).astype(np.float32)
    actions = steps[:-1] % 4 + 1
    return Recording({"value": observation}, actions, rewards, number % 2 == 0, "counting", number)


def recorder(folder: Path) -> Recorder:
    """A recorder of such episodes."""
    return Recorder(folder, OBSERVED, DONE)


def replay_of(folder: Path, lengths: Sequence[int]) -> Replay:
    """A replay of episodes of these lengths."""
    with recorder(folder) as open_recorder:
        for number, length in enumerate(lengths):
            open_recorder.append(recording(number, length))
    return Replay.open(folder)

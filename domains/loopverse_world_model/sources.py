"""The episodes that a configuration speaks of: found, imported, or played on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from tensordict import TensorDict

from loopverse.domain import Split
from loopverse_world_model.environments import make
from loopverse_world_model.folders import opened
from loopverse_world_model.kept import collected
from loopverse_world_model.replay import Replay
from loopverse_world_model.spaces import space_to_json
from loopverse_world_model.windows import Windows

if TYPE_CHECKING:
    from loopverse_world_model.config import WorldModelConfig


@dataclass
class Source:
    """Episodes in two parts, to train on and to evaluate on.

    Attributes:
        replay: all of them.
        held_out: share that is kept for evaluation.
        pad: windows may run past the end of an episode.
    """

    replay: Replay
    held_out: float
    pad: bool

    def numbers(self, split: Split) -> list[int]:
        """Episodes of one part."""
        train, valid = self.replay.held_out(self.held_out)
        return (train if split == "train" else valid).tolist()

    def windows(self, split: Split) -> Windows:
        """Windows over one part; held-out ones may always run past the end."""
        return Windows(self.replay, self.numbers(split), pad=self.pad or split == "valid")

    def records(self, split: Split) -> TensorDict:
        """All records of one part."""
        episodes = [self.replay.episode(number) for number in self.numbers(split)]
        return TensorDict.cat(episodes) if len(episodes) > 1 else episodes[0]


def spaces_of(config: WorldModelConfig) -> tuple[str, str]:
    """The observation and the action space, as text.

    Raises:
        UserError: an environment or a folder that cannot be used.
    """
    if config.data:
        replay = opened(config.data)
        return space_to_json(replay.observation_space), space_to_json(replay.action_space)
    env = make(config.env, config.env_kwargs)
    spaces = env.observation_space, env.action_space
    env.close()
    return space_to_json(spaces[0]), space_to_json(spaces[1])


def open_source(config: WorldModelConfig) -> Source:
    """The episodes of a configuration; what is not there is collected or imported now.

    Raises:
        UserError: an environment or a folder that cannot be used.
    """
    if config.data:
        replay = opened(config.data)
    else:
        replay = collected(
            config.env,
            steps=config.transitions,
            env_kwargs=config.env_kwargs,
            policy=config.policy,
            repeat=config.hold,
            num_envs=config.num_envs,
            seed=config.data_seed,
            console=Console(stderr=True),
        )
    if config.episodes:
        replay = replay.first(config.episodes)
    return Source(replay, config.held_out, config.pad)

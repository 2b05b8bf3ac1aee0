"""Plays environments side by side and gives their episodes in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from loopverse.errors import UserError
from loopverse_world_model.episode import Recording
from loopverse_world_model.policies import Policy, Rows
from loopverse_world_model.seeds import seed_of
from loopverse_world_model.spaces import flatten

if TYPE_CHECKING:
    from gymnasium.vector import SyncVectorEnv


@dataclass(frozen=True)
class Goal:
    """How much to play: so many steps, the last episode played to its end, or so many episodes.

    Raises:
        UserError: both, neither, or less than one.
    """

    steps: int | None = None
    episodes: int | None = None

    def __post_init__(self) -> None:
        given = [number for number in (self.steps, self.episodes) if number is not None]
        if len(given) != 1 or given[0] < 1:
            raise UserError(
                "ask for a number of steps or of episodes, at least 1, got "
                f"steps={self.steps} and episodes={self.episodes}"
            )

    def reached(self, episodes: int, steps: int) -> bool:
        """Whether so many episodes of so many steps in all are enough."""
        if self.steps is not None:
            return steps >= self.steps
        assert self.episodes is not None
        return episodes >= self.episodes


@dataclass
class Played:
    """How much there is already: whole episodes, and their steps."""

    episodes: int = 0
    steps: int = 0


def play(
    envs: SyncVectorEnv,
    policy: Policy,
    goal: Goal,
    *,
    seed: int,
    played: Played | None = None,
    environment: str = "",
) -> Iterator[Recording]:
    """Episodes in the order of their numbers, until the goal is reached.

    Episode `e` is begun with a seed that follows from `(seed, e)` by whichever row is free, so what it
    holds does not depend on how many rows there are. An episode that cannot be needed is not begun.

    Args:
        envs: as `make_vector` gives them.
        policy: who acts.
        goal: what is played for, `played` included.
        seed: of the episodes.
        played: what there is already; the first episode has the number of those.
        environment: what recordings call it.

    Raises:
        UserError: the policy gives something else than one action for each row.
    """
    done = played or Played()
    stage = _Stage(envs, done.episodes, seed, environment)
    waiting: dict[int, Recording] = {}
    while not goal.reached(done.episodes, done.steps):
        stage.begin_episodes(goal, done, waiting)
        waiting |= stage.step(policy)
        while done.episodes in waiting and not goal.reached(done.episodes, done.steps):
            recording = waiting.pop(done.episodes)
            done = Played(done.episodes + 1, done.steps + len(recording.reward))
            yield recording


class _Stage:
    """The rows, what they play, and what has happened in them."""

    def __init__(self, envs: SyncVectorEnv, first: int, seed: int, environment: str) -> None:
        self.envs, self.seed, self.environment = envs, seed, environment
        self.next = first
        self.rows = Rows(np.full(envs.num_envs, -1), np.zeros(envs.num_envs, np.int64))
        self.ended = np.ones(envs.num_envs, bool)
        self.tapes: list[list[Any]] = [[] for _ in self.ended]
        self.observations: Any = None
        self.memory: Any = None

    def begin_episodes(self, goal: Goal, done: Played, waiting: dict[int, Recording]) -> None:
        """Reset the rows whose episode ended, to play the next or, if there is none, for nothing."""
        if not self.ended.any():
            return
        self.rows.episode[self.ended] = -1
        self.rows.step[self.ended] = 0
        playing = self.rows.episode >= 0
        # What is under way will be at least as long as it is now.
        steps = done.steps + int(self.rows.step[playing].sum())
        steps += sum(len(recording.reward) for recording in waiting.values())
        seeds: list[int | None] = [None] * len(self.ended)
        for row in np.flatnonzero(self.ended):
            seeds[row] = 0
            if not goal.reached(self.next, steps):
                self.rows.episode[row] = self.next
                seeds[row] = self._seed(self.next)
                self.next += 1
        self.observations, _ = self.envs.reset(seed=seeds, options={"reset_mask": self.ended})
        for row in np.flatnonzero(self.ended):
            self.tapes[row] = [(self._leaves(), None, None)]
        self.ended = np.zeros_like(self.ended)

    def step(self, policy: Policy) -> dict[int, Recording]:
        """Let every row act once; the episodes that ended by it."""
        rows = Rows(self.rows.episode.copy(), self.rows.step.copy())
        actions, self.memory = policy.act(self.observations, rows, self.memory)
        actions = self._checked(actions, policy)
        idle = rows.episode < 0
        actions[idle] = actions[~idle][:1]  # of a row that is looked at, so that it is an action
        self.observations, rewards, terminated, truncated, _ = self.envs.step(actions)
        leaves = self._leaves()
        for tape in self.tapes:
            tape.append((leaves, actions, rewards))
        self.rows.step += 1
        self.ended = terminated | truncated
        return {
            int(rows.episode[row]): self._recording(int(row), bool(terminated[row]), policy)
            for row in np.flatnonzero(self.ended & ~idle)
        }

    def _recording(self, row: int, terminated: bool, policy: Policy) -> Recording:
        (first, _, _), *steps = self.tapes[row]
        leaves = [first, *(leaves for leaves, _, _ in steps)]
        return Recording(
            {path: np.stack([values[path][row] for values in leaves]) for path in first},
            np.stack([actions[row] for _, actions, _ in steps]),
            np.array([rewards[row] for _, _, rewards in steps]),
            terminated,
            policy.name,
            self._seed(int(self.rows.episode[row])),
            self.environment,
        )

    def _seed(self, episode: int) -> int:
        return seed_of(self.seed, "episode", episode)

    def _leaves(self) -> dict[str, np.ndarray]:
        return flatten(self.envs.single_observation_space, self.observations)

    def _checked(self, actions: Any, policy: Policy) -> np.ndarray:
        """A copy of the actions, because a policy may write the next ones into the same array."""
        actions = np.array(actions)
        expected = (self.envs.num_envs, *(self.envs.single_action_space.shape or ()))
        if actions.shape != expected:
            raise UserError(
                f"the policy {policy.name!r} gave actions of shape {list(actions.shape)}, expected "
                f"{list(expected)}, one for each environment"
            )
        return actions

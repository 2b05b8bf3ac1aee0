"""Small environments: every kind of space, short episodes, and some that break a rule.

Made by `gymnasium.make("domains.world_model.toys:Toy-v0", space=...)`.
"""

import copy
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

TOY = "domains.world_model.toys:Toy-v0"

OBSERVATIONS: dict[str, spaces.Space] = {
    "vector": spaces.Box(-100, 100, (3,), np.float32),
    "image": spaces.Box(0, 255, (16, 16, 3), np.uint8),
    "nested": spaces.Dict(
        {
            "arm": spaces.Tuple((spaces.Discrete(4, start=1), spaces.Box(-9, 9, (2,), np.float32))),
            "bits": spaces.MultiBinary(5),
            "cards": spaces.MultiDiscrete([2, 3, 4]),
            "a/b": spaces.Discrete(3),
        }
    ),
}
ACTIONS: dict[str, spaces.Space] = {
    "discrete": spaces.Discrete(3),
    "box": spaces.Box(-2, 2, (2,), np.float32),
    "cards": spaces.MultiDiscrete([2, 3]),
    "bits": spaces.MultiBinary(4),
}


class Toy(gymnasium.Env[Any, Any]):
    """A walk: observations follow from the seed, the actions so far and the step.

    Args:
        space: of the observations.
        action: of the actions.
        shortest: an episode ends after this many steps or more, at random.
        longest: and after this many at most; 0: never.
        delay: seconds that a step takes.
        broken: a rule to break: `nan`, `reward`, `shape`, `structure`, `category`; or none.
        at: step at which it is broken.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - declared so by gymnasium

    def __init__(
        self,
        space: str = "vector",
        action: str = "discrete",
        shortest: int = 1,
        longest: int = 9,
        delay: float = 0.0,
        broken: str = "",
        at: int = 3,
    ) -> None:
        self.observation_space = copy.deepcopy(OBSERVATIONS[space])
        self.action_space = copy.deepcopy(ACTIONS[action])
        self.shortest, self.longest = shortest, longest
        self.delay, self.broken, self.at = delay, broken, at

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.length = int(self.np_random.integers(self.shortest, max(self.longest, 1) + 1))
        self.step_number, self.where = 0, float(self.np_random.normal())
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        time.sleep(self.delay)
        self.step_number += 1
        self.where += 0.1 * float(np.asarray(action, np.float64).sum()) + 0.01 * float(
            self.np_random.normal()
        )
        ended = bool(self.longest) and self.step_number >= self.length
        reward = float("inf") if self._breaks("reward") else self.where
        return self._observation(), reward, ended, False, {}

    def _breaks(self, rule: str) -> bool:
        return self.broken == rule and self.step_number == self.at

    def _observation(self) -> Any:
        if self._breaks("structure"):
            return {"other": 0}
        value = self._of(self.observation_space)
        if self._breaks("nan"):
            value[1] = np.nan
        return value[:2] if self._breaks("shape") else value

    def _of(self, space: spaces.Space) -> Any:
        if isinstance(space, spaces.Dict):
            return {name: self._of(part) for name, part in space.spaces.items()}
        if isinstance(space, spaces.Tuple):
            return tuple(self._of(part) for part in space.spaces)
        number = int(abs(self.where) * 1e4)
        if isinstance(space, spaces.Discrete):
            outside = space.n if self._breaks("category") else 0
            return np.int64(space.start + number % space.n + outside)
        if isinstance(space, spaces.MultiDiscrete):
            return (number % space.nvec).astype(space.dtype)
        if isinstance(space, spaces.MultiBinary):
            return (number >> np.arange(space.shape[0]) & 1).astype(np.int8)
        if space.dtype == np.uint8:
            return np.full(space.shape, number % 256, np.uint8)
        return np.linspace(self.where, self.step_number, space.shape[0], dtype=np.float32).clip(
            -9, 9
        )


if "Toy-v0" not in gymnasium.registry:  # imported under a second name
    gymnasium.register("Toy-v0", entry_point="domains.world_model.toys:Toy")


def to_the_right(observation: Any, rng: np.random.Generator) -> int:
    """A policy: mostly action 2."""
    return int(rng.choice([1, 2, 2]))


def outside(observation: Any, rng: np.random.Generator) -> int:
    """A policy that does not know the action space."""
    return 7


def unasked(observation: Any) -> int:
    """A policy of the wrong signature."""
    return 0

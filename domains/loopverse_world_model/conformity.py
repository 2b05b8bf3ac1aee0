"""A wrapper that holds an environment to the spaces it declares."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from loopverse.errors import UserError


class Conforming(gymnasium.Wrapper):
    """Passes on observations in the shape and type of their space, and refuses others.

    A number of another type is converted, as a vector environment would anyway. Bounds of a Box are
    not checked: many environments declare them roughly, and Gymnasium warns of it itself.

    Args:
        env: what to wrap.
        env_id: what messages call it.

    Raises:
        UserError: an observation whose shape or structure is not that of its space.
    """

    def __init__(self, env: gymnasium.Env, env_id: str) -> None:
        super().__init__(env)
        self.env_id = env_id

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        return self._conformed(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._conformed(observation), reward, terminated, truncated, info

    def _conformed(self, observation: Any) -> Any:
        try:
            return conformed(self.observation_space, observation)
        except ValueError as problem:
            raise UserError(
                f"the environment {self.env_id!r} gave an observation that is not in its space: "
                f"{problem}; mend its observation_space or what it returns"
            ) from problem


def conformed(space: gymnasium.Space, value: Any, path: str = "") -> Any:
    """The value in the type that its space says.

    Raises:
        ValueError: shape or structure are others.
    """
    where = f" at {path!r}" if path else ""
    if isinstance(space, spaces.Dict):
        if not isinstance(value, dict) or set(value) != set(space.spaces):
            got = sorted(value) if isinstance(value, dict) else f"a {type(value).__name__}"
            raise ValueError(f"expected the keys {sorted(space.spaces)}{where}, got {got}")
        return {k: conformed(part, value[k], _join(path, k)) for k, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
            got = len(value) if isinstance(value, tuple | list) else f"a {type(value).__name__}"
            raise ValueError(f"expected {len(space.spaces)} parts{where}, got {got}")
        parts = enumerate(space.spaces)
        return tuple(conformed(part, value[n], _join(path, n)) for n, part in parts)
    if not isinstance(space, spaces.Box):
        if not space.contains(value):
            raise ValueError(f"expected a member of {space}{where}, got {value!r}")
        return value
    array = np.asarray(value)
    if array.shape != space.shape or not np.can_cast(array.dtype, space.dtype, "same_kind"):
        raise ValueError(
            f"expected shape {list(space.shape)} of {space.dtype}{where}, "
            f"got {list(array.shape)} of {array.dtype}"
        )
    return array if array.dtype == space.dtype else array.astype(space.dtype)


def _join(path: str, part: str | int) -> str:
    return f"{path}.{part}" if path else str(part)

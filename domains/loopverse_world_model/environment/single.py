"""A trained world model as an environment of Gymnasium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from loopverse import LoopedModel
from loopverse_world_model.environment.acting import checked_actions
from loopverse_world_model.environment.drawing import RENDER_MODES, History, check_render_mode
from loopverse_world_model.environment.opening import open_world
from loopverse_world_model.environment.world import World
from loopverse_world_model.spaces import unflatten


class LoopedWorldEnv(gymnasium.Env[Any, Any]):
    """Plays in the imagination of a model: `gymnasium.make("loopverse/World-v0", run="runs/NAME")`.

    Episodes begin with first observations of the episodes that the model was trained on. Numbers are
    kept within the bounds of the observation space, and actions within theirs. A model that imagines
    without decoding reads what it imagined every `horizon` steps, for which it was trained.

    Args:
        run: folder of a run; or
        model: a model, to play in as it is.
        checkpoint: of the run: "best", "last" or a step.
        loops: of every step; None: as many as the model was trained with.
        stochastic: draw what happens from what is predicted, and read it; otherwise the mean and the most
            likely happen, and an episode ends where its chance to go on is below one half.
        max_steps: after which an episode is cut off; None: as in the real environment.
        render_mode: "rgb_array" or None.
        lanes: rows computed at once, see `LoopedWorldVectorEnv`.
        device: to compute on.

    Raises:
        UserError: a run or a model that is no world model, or a way to render that there is not.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": 30}  # noqa: RUF012 - declared so by gymnasium

    def __init__(
        self,
        run: str | Path | None = None,
        *,
        model: LoopedModel | None = None,
        checkpoint: str | int = "best",
        loops: int | None = None,
        stochastic: bool = False,
        max_steps: int | None = None,
        render_mode: str | None = None,
        lanes: int | None = None,
        device: str = "cpu",
    ) -> None:
        check_render_mode(render_mode)
        opened = open_world(
            run, model, checkpoint=checkpoint, loops=loops, max_steps=max_steps, device=device
        )
        self.observation_space = opened.adapter.observation_space
        self.action_space = opened.adapter.action_space
        self.render_mode, self.max_steps = render_mode, opened.max_steps
        self._world = World(opened, 1, stochastic=stochastic, lanes=lanes)
        self._history = History(opened.adapter.dynamics.observed)
        self._live = np.ones(1, bool)
        self._steps: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        leaves = self._world.begin(self._live, [self.np_random])
        self._steps = 0
        self._history.begin()
        return self._shown(leaves), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._steps is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        raw = checked_actions(self.action_space, np.asarray(action)[None])
        turn = self._world.step(raw, [self.np_random], self._live)
        self._steps += 1
        observation = self._shown(turn.observation)
        ended, cut = not bool(turn.goes_on[0]), self._steps >= self.max_steps
        return observation, float(turn.reward[0]), ended, cut, {}

    def render(self) -> Any:
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() was called without a way to: pass render_mode='rgb_array' to make()"
            )
            return None
        if self._steps is None:
            raise gymnasium.error.ResetNeeded("call reset() before render()")
        return self._history.drawn()

    def _shown(self, leaves: dict[str, np.ndarray]) -> Any:
        """The observation of the only row, noted down for drawing."""
        one = {path: _scalar(values[0]) for path, values in leaves.items()}
        if self.render_mode is not None:
            self._history.add(one)
        return unflatten(self.observation_space, one)


def _scalar(value: Any) -> Any:
    """A copy; a number of a Box stays an array, as Gymnasium asks for."""
    return value if np.issubdtype(value.dtype, np.integer) and value.ndim == 0 else np.array(value)

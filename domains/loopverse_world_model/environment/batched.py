"""A trained world model as an environment of Gymnasium with many rows, computed together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from loopverse import LoopedModel
from loopverse.errors import UserError
from loopverse_world_model.environment.acting import checked_actions
from loopverse_world_model.environment.drawing import RENDER_MODES, History, check_render_mode
from loopverse_world_model.environment.opening import open_world
from loopverse_world_model.environment.world import World
from loopverse_world_model.spaces import unflatten


class LoopedWorldVectorEnv(VectorEnv[Any, Any, np.ndarray]):
    """As many `LoopedWorldEnv`, stepped at once: `gymnasium.make_vec("loopverse/World-v0", 64, run=...)`.

    Row `n` is what a `LoopedWorldEnv` is that was reset with the seed of row `n`, to the bit, as long as
    both have as many lanes. A row whose episode ended begins anew with the next step, whose action
    then does nothing.

    Args:
        num_envs: rows.
        run: folder of a run; or
        model: a model, to play in as it is.
        checkpoint: of the run: "best", "last" or a step.
        loops: of every step; None: as many as the model was trained with.
        stochastic: as in `LoopedWorldEnv`.
        max_steps: after which an episode is cut off; None: as in the real environment.
        render_mode: "rgb_array" or None.
        lanes: rows computed at once. What is rounded depends on it: worlds are alike to the bit if
            they have as many lanes, and large ones are faster with more. None: `usual_lanes`.
        device: to compute on.

    Raises:
        UserError: a run or a model that is no world model, or a number below 1.
    """

    metadata = {  # noqa: RUF012 - declared so by gymnasium
        "render_modes": RENDER_MODES,
        "render_fps": 30,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
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
        self._world = World(opened, num_envs, stochastic=stochastic, lanes=lanes)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.max_steps = opened.max_steps
        self.single_observation_space = opened.adapter.observation_space
        self.single_action_space = opened.adapter.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        observed = opened.adapter.dynamics.observed
        self._histories = [History(observed) for _ in range(num_envs)]
        self._generators: list[np.random.Generator] = []
        self._steps = np.zeros(num_envs, np.int64)
        self._over = np.zeros(num_envs, bool)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begin anew in every row.

        Args:
            seed: of row 0, the others counting up from it; or one for each; None: rows go on drawing
                from the random numbers they have.
            options: none are known.

        Raises:
            UserError: another number of seeds than rows, or a row to be reset alone.
        """
        if options and "reset_mask" in options:
            raise UserError(
                "rows of an imagined world reset themselves with the step after their end: leave "
                "reset_mask out"
            )
        self._seed(seed)
        self._steps[:], self._over[:] = 0, False
        leaves = self._world.begin(np.ones(self.num_envs, bool), self._generators)
        self._note(leaves, np.ones(self.num_envs, bool))
        return unflatten(self.single_observation_space, leaves), {}

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        if not self._generators:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        raw = checked_actions(self.single_action_space, np.asarray(actions), self.num_envs)
        over, live = self._over, ~self._over
        turn = self._world.step(raw, self._generators, live)
        self._steps += 1
        leaves = {path: values.copy() for path, values in turn.observation.items()}
        if over.any():
            self._steps[over] = 0
            for path, values in self._world.begin(over, self._generators).items():
                leaves[path][over] = values
        rewards = np.where(over, 0.0, turn.reward.astype(np.float64))
        terminated = ~turn.goes_on & live
        truncated = (self._steps >= self.max_steps) & live
        self._over = terminated | truncated
        self._note(leaves, over)
        return unflatten(self.single_observation_space, leaves), rewards, terminated, truncated, {}

    def render(self) -> tuple[Any, ...] | None:
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() was called without a way to: pass render_mode='rgb_array' to make_vec()"
            )
            return None
        return tuple(history.drawn() for history in self._histories)

    def _seed(self, seed: int | Sequence[int | None] | None) -> None:
        seeds = [None] * self.num_envs if seed is None else seed
        if isinstance(seeds, int):
            seeds = [seeds + row for row in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise UserError(
                f"expected one seed, or {self.num_envs}, one for each row, got {len(seeds)}"
            )
        known = self._generators or [None] * self.num_envs
        self._generators = [
            kept if kept is not None and own is None else seeding.np_random(own)[0]
            for kept, own in zip(known, seeds, strict=True)
        ]

    def _note(self, leaves: dict[str, np.ndarray], begun: np.ndarray) -> None:
        """Keep what rows see, for drawing."""
        if self.render_mode is None:
            return
        for row, history in enumerate(self._histories):
            if begun[row]:
                history.begin()
            history.add({path: values[row] for path, values in leaves.items()})

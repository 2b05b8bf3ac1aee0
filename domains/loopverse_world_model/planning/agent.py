"""A policy that plans: it remembers each row, imagines, and does the first step of the best plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from tensordict import TensorDict
from torch import Tensor

from loopverse.domain import Think
from loopverse.nn import reuse_weights
from loopverse_world_model.imagination import Imagination
from loopverse_world_model.memory import Memory
from loopverse_world_model.planning.dice import Dice
from loopverse_world_model.planning.planner import Imagine, Planner, Search, World
from loopverse_world_model.policies import Policy, Rows
from loopverse_world_model.seeds import seed_of
from loopverse_world_model.spaces import flatten

if TYPE_CHECKING:
    from loopverse_world_model.adapter import WorldModel


@dataclass
class Recall:
    """What is remembered between two acts.

    Attributes:
        rows: which rows of the environments these are.
        memory: what the model remembers of each.
        search: where the search of each ended.
    """

    rows: Int[np.ndarray, " m"]
    memory: Memory
    search: Search


class PlanningPolicy(Policy):
    """Plans anew at every step, from where the plan of the step before ended.

    Args:
        adapter: of a trained model.
        think_at: its core with so many loops bound to it.
        trained: loops that it was trained with.
        planner: how plans are searched for.
        seed: of the planner and of the noise; a row plans as it does alone.
        noise: what is added to explore: the deviation of a number, or the chance of a random category.
        name: what the index of a replay calls it.

    Raises:
        UserError: the planner cannot choose such actions.
    """

    def __init__(
        self,
        adapter: WorldModel,
        think_at: Callable[[int], Think],
        trained: int,
        planner: Planner,
        *,
        seed: int = 0,
        noise: float = 0.0,
        name: str = "planner",
    ) -> None:
        self.adapter, self.planner, self.seed, self.noise = adapter, planner, seed, noise
        self._name = name
        codec = adapter.actions
        planner.check(codec.sizes)
        self.usual = Imagination(adapter.dynamics, think_at(trained))
        cheap, careful = (
            _imagine(Imagination(adapter.dynamics, think_at(loops))) if loops else None
            for loops in (planner.loops or trained, planner.elite_loops)
        )
        assert cheap is not None
        self.world = World(cheap, codec.width, codec.sizes, careful, self.usual.terminal_value)

    @property
    def name(self) -> str:
        return self._name

    @torch.inference_mode()
    def act(self, observations: Any, rows: Rows, memory: Recall | None) -> tuple[Any, Recall]:
        playing = np.flatnonzero(rows.episode >= 0)
        device = self.adapter.dynamics.device
        leaves = flatten(self.adapter.observation_space, observations)
        seen = TensorDict(
            {path: torch.as_tensor(values[playing]) for path, values in leaves.items()},
            batch_size=[len(playing)],
        ).to(device)
        begins = torch.as_tensor(rows.step[playing] == 0, device=device)
        now, before = self._recalled(memory, playing, begins)
        now = self.usual.observe(now, seen)
        address = list(
            zip(rows.episode[playing].tolist(), rows.step[playing].tolist(), strict=True)
        )
        with reuse_weights():
            plan = self.planner.plan(self.world, now, Dice(self.seed, address, device), before)
            action = self._explored(plan.actions[:, 0], address)
            now, _ = self.usual.step(now, action)
        raw = self.adapter.actions.decode(action)
        everywhere = np.repeat(raw[:1], len(rows.episode), axis=0)
        everywhere[playing] = raw
        return everywhere, Recall(playing, now, plan.search)

    def _recalled(
        self, recall: Recall | None, playing: Int[np.ndarray, " m"], begins: Tensor
    ) -> tuple[Memory, Search | None]:
        """Memory and search of the rows that play; those that begin have neither."""
        fresh = self.usual.begin(len(playing))
        if recall is None:
            return fresh, None
        places = {int(row): place for place, row in enumerate(recall.rows)}
        index = torch.tensor([places.get(int(row), 0) for row in playing], device=begins.device)
        memory = recall.memory.take(index)
        if bool(begins.any()):
            memory = memory.where(~begins, fresh)
        return memory, recall.search.take(index, ~begins)

    def _explored(
        self, action: Float[Tensor, "m a"], address: list[tuple[int, int]]
    ) -> Float[Tensor, "m a"]:
        if self.noise == 0:
            return action
        action, sizes = action.clone(), self.adapter.actions.sizes
        for row, (episode, step) in enumerate(address):
            rng = torch.Generator().manual_seed(seed_of(self.seed, "explore", episode, step))
            if sizes is None:
                drawn = torch.randn(action.shape[1], generator=rng).to(action.device)
                action[row] = (action[row] + self.noise * drawn).clamp(-1, 1)
            elif float(torch.rand((), generator=rng)) < self.noise:
                picked = [int(torch.randint(size, (), generator=rng)) for size in sizes]
                hot = [torch.eye(size)[n] for size, n in zip(sizes, picked, strict=True)]
                action[row] = torch.cat(hot).to(action)
        return action


def _imagine(imagination: Imagination) -> Imagine:
    """A step of the model, as a planner asks for it: nothing is decoded that need not be."""

    def step(memory: Memory, actions: Tensor) -> tuple[Memory, Tensor, Tensor]:
        memory, imagined = imagination.step(memory, actions)
        return memory, imagined.reward, imagined.keep_going

    return step

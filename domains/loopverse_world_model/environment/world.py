"""An imagined world of many rows, each with its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from tensordict import TensorDict

from loopverse.errors import UserError
from loopverse.nn import reuse_weights
from loopverse_world_model.environment.lanes import Chance, Lanes, Turn, usual_lanes
from loopverse_world_model.environment.opening import Opened

Generators = Sequence[np.random.Generator]


class World:
    """Rows that begin where episodes began, and are stepped together.

    Args:
        opened: the model.
        num: rows.
        stochastic: draw what happens, instead of taking the mean and the most likely.
        lanes: rows that are computed at once; None: `usual_lanes`. With as many of them a row is the same
            to the bit whatever is beside it; more of them are faster where there are many rows.

    Raises:
        UserError: a number below 1.
    """

    def __init__(self, opened: Opened, num: int, *, stochastic: bool, lanes: int | None) -> None:
        lanes = usual_lanes(opened.adapter) if lanes is None else lanes
        for name, number in (("num_envs", num), ("lanes", lanes)):
            if number < 1:
                raise UserError(f"{name} must be at least 1, got {number}")
        self.num, self.stochastic, self.size = num, stochastic, lanes
        self.codec, self.beginnings = opened.adapter.actions, opened.beginnings
        self.device = opened.adapter.dynamics.device
        self.lanes = [Lanes(opened.adapter, opened.think, lanes) for _ in range(-(-num // lanes))]
        self.age = np.zeros(num, np.int64)

    @torch.no_grad()
    def begin(self, rows: Bool[np.ndarray, " n"], generators: Generators) -> dict[str, np.ndarray]:
        """Draw an observation for some rows and begin there.

        Args:
            rows: which.
            generators: of every row.

        Returns:
            What these rows see, by leaf, one after the other.
        """
        count = len(self.beginnings)
        chosen = torch.zeros(len(self.lanes) * self.size, dtype=torch.long)
        for row in np.flatnonzero(rows).tolist():
            chosen[row] = int(generators[row].integers(count))
        asked = torch.zeros(len(chosen), dtype=torch.bool)
        asked[: self.num] = torch.from_numpy(rows)
        last = asked[(len(self.lanes) - 1) * self.size : self.num]
        asked[self.num :] = last.all()  # idle rows keep company, so that nothing need be mixed
        observation = self.beginnings[chosen].to(self.device)
        for lane, mask, part in self._shared_out(asked, observation):
            if bool(mask.any()):
                lane.place(mask.to(self.device), part)
        self.age[rows] = 0
        return {str(path): value[np.flatnonzero(rows)] for path, value in self._raw(chosen).items()}

    @torch.no_grad()
    def step(
        self, actions: np.ndarray, generators: Generators, live: Bool[np.ndarray, " n"]
    ) -> Turn:
        """Act in every row.

        Args:
            actions: raw, of every row.
            generators: of every row.
            live: rows that count; the others draw nothing, and are to begin anew.

        Raises:
            FloatingPointError: a live row imagined something that is not a finite number.
        """
        encoded = self.codec.encode(actions)
        if self.codec.sizes is None:
            encoded = encoded.clamp(-1, 1)  # as environments do with what is out of bounds
        padding = len(self.lanes) * self.size - self.num
        encoded = torch.cat([encoded, encoded.new_zeros(padding, encoded.shape[1])])
        encoded = encoded.to(self.device)
        chance = self._chance(generators, live) if self.stochastic else [None] * len(self.lanes)
        with reuse_weights():
            turns = [
                lane.step(part, drawn)
                for lane, part, drawn in zip(
                    self.lanes, encoded.split(self.size), chance, strict=True
                )
            ]
        self.age += 1
        turn = Turn(
            {
                path: np.concatenate([one.observation[path] for one in turns])[: self.num]
                for path in turns[0].observation
            },
            np.concatenate([one.reward for one in turns])[: self.num],
            np.concatenate([one.goes_on for one in turns])[: self.num],
            np.concatenate([one.finite for one in turns])[: self.num] | ~live,
        )
        if not turn.finite.all():
            raise FloatingPointError(
                f"what is imagined is not finite after {self.age[~turn.finite].max()} steps: the model does "
                "not hold out so long; train it longer, use the number of loops it was trained with, or "
                "lower max_steps"
            )
        return turn

    def _chance(self, generators: Generators, live: np.ndarray) -> list[Chance | None]:
        """Random numbers of every row from its own generator."""
        lane, total = self.lanes[0], len(self.lanes) * self.size
        normal = np.zeros((total, lane.num_normal))
        uniform = np.zeros((total, lane.num_uniform))
        for row in np.flatnonzero(live).tolist():
            normal[row] = generators[row].standard_normal(lane.num_normal)
            uniform[row] = generators[row].random(lane.num_uniform)
        parts = [torch.from_numpy(numbers).float().to(self.device) for numbers in (normal, uniform)]
        pairs = zip(*(part.split(self.size) for part in parts), strict=True)
        return [Chance(*pair) for pair in pairs]

    def _shared_out(
        self, asked: torch.Tensor, observation: TensorDict
    ) -> list[tuple[Lanes, torch.Tensor, TensorDict]]:
        parts = zip(self.lanes, asked.split(self.size), observation.split(self.size), strict=True)
        return list(parts)

    def _raw(self, chosen: torch.Tensor) -> dict[str, np.ndarray]:
        return {
            str(path): value[chosen[: self.num]].cpu().numpy()
            for path, value in self.beginnings.items()
        }

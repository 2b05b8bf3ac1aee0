"""Rows of an imagined world that are computed together, always as many of them.

The last bits of a matrix product depend on how many rows it has, and those of an exponential on
whether it is computed in a vector of the processor or is one of the few that are left over. Here there
are always as many rows, some of them idle, and nothing is left over, so what happens in a row depends on
nothing beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from tensordict import TensorDict
from torch import Tensor
from torch.distributions import Categorical, Independent, Normal

from loopverse.domain import Think
from loopverse_world_model.adapter import WorldModel
from loopverse_world_model.dynamics import REWARD
from loopverse_world_model.prediction import Origin, TransitionDistribution
from loopverse_world_model.rereading import reread
from loopverse_world_model.spaces import Leaf


def usual_lanes(adapter: WorldModel) -> int:
    """Rows that are computed at once where nothing else is said.

    Two vectors of the processor, which is how PyTorch takes numbers; one row where pictures are drawn,
    of which many at once take about as long as one after the other.
    """
    if any(leaf.kind == "image" for leaf in adapter.dynamics.observed):
        return 1
    return 32 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 16


@dataclass
class Chance:
    """Random numbers of one step for every row.

    Attributes:
        normal: for numbers and the reward.
        uniform: in [0, 1), for categories, bits, and whether the episode goes on.
    """

    normal: Float[Tensor, "n r"]
    uniform: Float[Tensor, "n u"]


@dataclass
class Turn:
    """What a step brought.

    Attributes:
        observation: as the environment gives it, by leaf, `[n ...]`.
        reward: `[n]`.
        goes_on: whether the episode did not end, `[n]`.
        finite: whether everything imagined is a finite number, `[n]`.
    """

    observation: dict[str, np.ndarray]
    reward: np.ndarray
    goes_on: np.ndarray
    finite: np.ndarray


class Lanes:
    """Rows that are stepped at once.

    Args:
        adapter: of the model.
        think: its core, with a number of loops bound to it.
        num: how many.
    """

    def __init__(self, adapter: WorldModel, think: Think, num: int) -> None:
        self.adapter, self.dynamics, self.think, self.num = adapter, adapter.dynamics, think, num
        self.memory = self.dynamics.begin(num)
        self.bounds = {leaf.path: _bounds(leaf) for leaf in self.dynamics.observed}
        sizes = {
            kind: sum(leaf.size for leaf in self.dynamics.observed if leaf.kind == kind)
            for kind in ("vector", "categories", "bits")
        }
        self.num_normal = sizes["vector"] + 1
        self.num_uniform = sizes["categories"] + sizes["bits"] + 1

    def place(self, rows: Bool[Tensor, " n"], observation: TensorDict) -> None:
        """Some rows begin anew, from what they see now; of the other rows nothing is read."""
        begun = self.dynamics.observe(self.dynamics.begin(self.num), observation)
        self.memory = begun if bool(rows.all()) else begun.where(rows, self.memory)

    def step(self, action: Float[Tensor, "n a"], chance: Chance | None) -> Turn:
        """Act in every row.

        Args:
            action: encoded.
            chance: what outcomes are drawn with; None: the mean and the most likely happen.
        """
        dynamics = self.dynamics
        memory, thought = dynamics.advance(self.think, self.memory, action)
        outputs = dynamics.outputs(thought.z.flatten(1))
        origin = Origin(memory.base, memory.age)
        going = dynamics.chance_to_go_on(outputs)
        if chance is None:
            decoded = cast(Mapping[str, Tensor], dynamics.decode(outputs, origin))
            reward, goes_on = dynamics.expected_reward(outputs), going >= 0.5
        else:
            prediction = dynamics.distribution(outputs, origin)
            decoded, reward = self._drawn(prediction, chance)
            goes_on = chance.uniform[:, -1] < going
        finite = thought.z.flatten(1).isfinite().all(1) & reward.isfinite()
        observation = {}
        for leaf in dynamics.observed:
            values = decoded[leaf.path]
            if leaf.kind == "vector":
                finite &= values.reshape(self.num, -1).isfinite().all(1)
            observation[leaf.path] = self._conforming(leaf, values.cpu().numpy())
        seen = {path: torch.from_numpy(value) for path, value in observation.items()}
        read = TensorDict(seen, batch_size=[self.num]).to(dynamics.device)
        if dynamics.decoded or chance is not None:
            self.memory = reread(self.adapter, memory, read)
        else:
            blank = torch.zeros_like(memory.fresh)
            self.memory = replace(memory, fresh=blank, age=memory.age + 1)
            far = self.memory.age >= self.adapter.config.horizon
            if bool(far.any()):
                self.memory = reread(self.adapter, memory, read).where(far, self.memory)
        outcome = (reward, goes_on, finite)
        return Turn(observation, *(values.cpu().numpy() for values in outcome))

    def _conforming(self, leaf: Leaf, values: np.ndarray) -> np.ndarray:
        """Values as their space has them: of its type, whole where it is of whole numbers, within bounds."""
        dtype = np.dtype(leaf.dtype)
        if leaf.kind != "vector":
            return values.astype(dtype)
        if np.issubdtype(dtype, np.integer):
            return np.clip(np.nan_to_num(values).round(), *self.bounds[leaf.path]).astype(dtype)
        return np.clip(values.astype(dtype), *self.bounds[leaf.path])

    def _drawn(
        self, prediction: TransitionDistribution, chance: Chance
    ) -> tuple[dict[str, Tensor], Tensor]:
        """An observation and a reward. Pictures are drawn as their mean: noise in every pixel is no picture."""
        assert prediction.origin is not None
        normal, uniform = chance.normal, chance.uniform
        drawn: dict[str, Tensor] = {}
        for leaf in self.dynamics.observed:
            model, part = self.dynamics.leaf(leaf), cast(Independent, prediction.parts[leaf.path])
            base, age = prediction.origin.base.get(leaf.path), prediction.origin.age
            if leaf.kind == "vector":
                noise, normal = normal[:, : leaf.size], normal[:, leaf.size :]
                value = _normal(part, noise)
            elif leaf.kind == "image":
                value = part.mean
            else:
                place, uniform = uniform[:, : leaf.size], uniform[:, leaf.size :]
                value = _discrete(part, place)
            drawn[leaf.path] = model.decode(value, base, age)
        reward = self.dynamics.reward
        value = _normal(cast(Independent, prediction.parts[REWARD]), normal)
        return drawn, reward.decode(value, None, None)


def _bounds(leaf: Leaf) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value, for a vector; of nothing else do they matter."""
    kind = np.float64 if np.issubdtype(np.dtype(leaf.dtype), np.integer) else leaf.dtype
    if leaf.kind != "vector":
        return np.empty(0), np.empty(0)
    low, high = (
        np.broadcast_to(np.array(side, kind), (leaf.size,)).reshape(leaf.shape)
        for side in (leaf.low, leaf.high)
    )
    return low, high


def _normal(part: Independent, noise: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    normal = cast(Normal, part.base_dist)
    return normal.loc + normal.scale * noise


def _discrete(part: Independent, place: Float[Tensor, "n m"]) -> Tensor:
    """The category, or the bit, at a place in [0, 1) of the cumulative distribution."""
    base = part.base_dist
    if isinstance(base, Categorical):
        before = base.probs.cumsum(-1)[..., :-1]  # the last category takes what rounding leaves
        return (place[..., None] >= before).sum(-1)
    return (place < base.mean).to(torch.int8)

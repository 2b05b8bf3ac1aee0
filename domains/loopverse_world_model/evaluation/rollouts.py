"""Long imagined rollouts: whether the state stays bounded, and the predictions within the data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional as F

from loopverse.depth import largest_gain
from loopverse.domain import Think
from loopverse.nn import Attend, CoreInput, reuse_weights
from loopverse_world_model.actions import ActionCodec
from loopverse_world_model.dynamics import CONTINUE, Dynamics
from loopverse_world_model.evaluation.starts import Starts
from loopverse_world_model.leaves import VectorLeaf
from loopverse_world_model.memory import Memory
from loopverse_world_model.statistics import SMALL

if TYPE_CHECKING:
    from loopverse_world_model.adapter import WorldModel

FAR = 10.0
"""Times the range of the data that a prediction may not leave."""
MEASURED_AT = (1, 10, 100, 1000)
"""Steps of a rollout at whose states contraction is measured."""
MEASURED_ROWS = 16
"""Rollouts in which it is."""


@dataclass
class Rollouts:
    """What happened in rollouts of one number of loops.

    Attributes:
        loops: of every step.
        norm: root mean square of the state over its channels, `[steps n]`.
        spread: standard deviation of the predicted numbers over the rollouts, in standard deviations of
            the data, a mean over numbers, one per step; empty where no number is observed.
        left: whether a prediction left ten times the range of the data, or was not finite, `[n]`.
        left_going: whether that happened while the model still held that the episode went on, `[n]`.
        gains: the largest singular value of one loop's map at states that were visited, `[m]`. A
            measurement at these states, and a bound of nothing else.
    """

    loops: int
    norm: Float[Tensor, "steps n"]
    spread: Float[Tensor, " s"]
    left: Bool[Tensor, " n"]
    left_going: Bool[Tensor, " n"]
    gains: Float[Tensor, " m"]


@torch.no_grad()
def rollouts(
    adapter: "WorldModel",
    think_at: Callable[[int], Think],
    loops: Sequence[int],
    *,
    num: int = 100,
    steps: int = 1000,
    seed: int = 0,
    records: TensorDict | None = None,
) -> list[Rollouts]:
    """Imagine under random actions, from held-out observations: the same of both at every depth.

    Args:
        adapter: of a trained model.
        think_at: its core with this many loops bound to it.
        loops: numbers of loops.
        num: rollouts of each.
        steps: of each rollout.
        seed: of the actions.
        records: of whole episodes, to start from; None: the held-out ones.

    Raises:
        ValueError: a core that cannot run so many loops.
    """
    records = adapter.source.records("valid") if records is None else records
    starts = Starts.of(records, limit=num)
    rows = starts.rows[torch.arange(num) % len(starts)]
    observation = records["observation"][rows].to(adapter.dynamics.device)
    with reuse_weights():
        return [
            _rollouts(adapter.dynamics, think_at, number, observation, steps, seed)
            for number in loops
        ]


def random_actions(codec: ActionCodec, num: int, rng: torch.Generator) -> Float[Tensor, "n a"]:
    """Encoded actions, uniform over what can be done."""
    if codec.sizes is None:
        return torch.rand(num, codec.width, generator=rng) * 2 - 1
    drawn = [torch.randint(size, (num,), generator=rng) for size in codec.sizes]
    hot = [F.one_hot(numbers, size) for numbers, size in zip(drawn, codec.sizes, strict=True)]
    return torch.cat(hot, -1).float()


def _rollouts(
    dynamics: Dynamics,
    think_at: Callable[[int], Think],
    loops: int,
    observation: TensorDict,
    steps: int,
    seed: int,
) -> Rollouts:
    think, num = think_at(loops), len(observation)
    rng = torch.Generator().manual_seed(seed)
    watch = _Watch(dynamics)
    memory = dynamics.observe(dynamics.begin(num), observation)
    norms, spreads, gains = [], [], []
    left, left_going = (
        torch.zeros(num, dtype=torch.bool, device=dynamics.device) for _ in range(2)
    )
    going = ~left
    for step in range(1, steps + 1):
        action = random_actions(dynamics.actions, num, rng).to(dynamics.device)
        before = memory
        memory, thought = dynamics.advance(think, memory, action)
        state = thought.result.z
        norms.append(state.float().square().mean((1, 2)).sqrt())
        z = thought.z.flatten(1)
        out = ~norms[-1].isfinite()
        numbers = watch.numbers(z, memory)
        if numbers:
            out |= watch.outside(numbers)
            spreads.append(watch.spread(numbers))
        left, left_going = left | out, left_going | (out & going)
        going = going & (dynamics.chance_to_go_on({CONTINUE: dynamics.going(z)}) >= 0.5)
        if step in MEASURED_AT and bool(state.isfinite().all()):
            x = dynamics.reads(before, action)
            gains.append(_gain(think_at(1), x, state))
        memory = dynamics.imagined(memory, thought.z)
    empty = torch.zeros(0)
    return Rollouts(
        loops,
        torch.stack(norms).cpu(),
        torch.stack(spreads).cpu() if spreads else empty,
        left.cpu(),
        left_going.cpu(),
        torch.cat(gains).cpu() if gains else empty,
    )


def _gain(
    think: Think, x: Float[Tensor, "n t d"], z: Float[Tensor, "n t d"]
) -> Float[Tensor, " m"]:
    """The largest singular value of one more loop over `x`, at `z`."""
    x, z = x[:MEASURED_ROWS], z[:MEASURED_ROWS]
    inputs = CoreInput(x, Attend(causal=False))
    return largest_gain(
        lambda state: think(inputs, carry=state).result.z,
        z,
        rng=torch.Generator().manual_seed(0),
    )


class _Watch:
    """The numbers of an observation, and where the data had them."""

    def __init__(self, dynamics: Dynamics) -> None:
        found = ((leaf.path, dynamics.leaf(leaf)) for leaf in dynamics.observed)
        self.models = {path: model for path, model in found if isinstance(model, VectorLeaf)}

    def numbers(self, z: Float[Tensor, "n d"], memory: Memory) -> dict[str, Tensor]:
        """What is predicted from a readout, raw, by leaf."""
        return {
            path: model.decode(model.centre(model.outputs(z)), memory.base.get(path), memory.age)
            for path, model in self.models.items()
        }

    def outside(self, numbers: dict[str, Tensor]) -> Bool[Tensor, " n"]:
        """Rows with a number beyond ten times the range of the data, around its middle; or none at all."""
        rows = []
        for path, model in self.models.items():
            low, high = (model.raw(bound[None]).flatten() for bound in (model.low, model.high))
            half = (high - low) / 2
            half = torch.where(half > SMALL, half, torch.ones_like(half))
            distance = numbers[path].reshape(-1, len(half)) - (low + high) / 2
            rows.append((distance.abs() <= FAR * half).all(-1))
        return ~torch.stack(rows).all(0)

    def spread(self, numbers: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Standard deviation over the rows, a mean over numbers."""
        spreads = [
            model.flat(numbers[path]).std(0) / model.std for path, model in self.models.items()
        ]
        return torch.cat(spreads).mean()

"""Seconds of one plan by our cross-entropy method against torchrl's `CEMPlanner` over the same dynamics.

One row, the same horizon, candidates, iterations and elites, the same model stepped by the same
`Imagination`; weights as initialised, which changes no time. In turns; medians.

    OMP_NUM_THREADS=1 python benchmarks/planning_speed.py
    OMP_NUM_THREADS=2 python benchmarks/planning_speed.py domain.env=Pendulum-v1 core.loops=2
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs.model_based import ModelBasedEnvBase
from torchrl.modules import CEMPlanner

from loopverse.nn import reuse_weights
from loopverse.training import build_model
from loopverse.training.compose import compose
from loopverse_world_model import WorldModel
from loopverse_world_model.imagination import Imagination
from loopverse_world_model.memory import Memory
from loopverse_world_model.planning import CEM, Dice, World


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--horizon", type=int, default=15)
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--elites", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("overrides", nargs="*", help="settings of the model")
    options = parser.parse_intermixed_args()
    torch.manual_seed(0)
    words = ["domain=world_model", "domain.transitions=1000", *options.overrides]
    model = build_model(compose(words)).eval()
    adapter, loops = model.adapter, model.core.config.loops
    assert isinstance(adapter, WorldModel)
    assert adapter.actions.sizes is None, "torchrl's planner chooses numbers"
    memory = _remembered(adapter, Imagination(adapter.dynamics, model.bind(loops)))
    asked = (options.horizon, options.candidates, options.iterations, options.elites)
    ways = {
        "loopverse": _ours(adapter, model.bind(loops), memory, *asked),
        "torchrl": _torchrl(adapter, model.bind(loops), memory, *asked),
        "torchrl, weights reused": _torchrl(
            adapter, model.bind(loops), memory, *asked, reused=True
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(options.repeats + 1):
        for name, plan in ways.items():
            began = time.perf_counter()
            plan()
            if repeat:
                taken[name].append(time.perf_counter() - began)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {loops} loops, {asked}")
    print("| planner | a plan, ms | times ours |\n|---|---|---|")
    ours = statistics.median(taken["loopverse"])
    for name, seconds in taken.items():
        middle = statistics.median(seconds)
        print(f"| {name} | {middle * 1e3:.0f} | {middle / ours:.2f} |")


@torch.no_grad()
def _remembered(adapter: WorldModel, world: Imagination) -> Memory:
    """A row on its way through an episode."""
    memory = world.observe(world.begin(1), adapter.beginnings[:1])
    memory, _ = world.step(memory, torch.zeros(1, adapter.actions.width))
    return world.observe(memory, adapter.beginnings[:1])


def _ours(
    adapter: WorldModel,
    think: Any,
    memory: Memory,
    horizon: int,
    candidates: int,
    iterations: int,
    elites: int,
) -> Callable[[], Tensor]:
    world = Imagination(adapter.dynamics, think)

    def imagine(memory: Memory, action: Tensor) -> tuple[Memory, Tensor, Tensor]:
        memory, imagined = world.step(memory, action)
        return memory, imagined.reward, imagined.keep_going

    planner = CEM(horizon, candidates, iterations, elites, momentum=0.0)

    def plan() -> Tensor:
        with reuse_weights():
            there = World(imagine, adapter.actions.width)
            return planner.plan(there, memory, Dice(0, [(0, 0)])).actions[:, 0]

    return plan


class _Steps(nn.Module):
    """The dynamics, as torchrl steps them: from a tensordict to a tensordict."""

    def __init__(self, adapter: WorldModel, think: Any) -> None:
        super().__init__()
        self.world = Imagination(adapter.dynamics, think)

    def forward(self, data: TensorDict) -> TensorDict:
        state = {name: value for name, value in data.items() if name.startswith("base ")}
        rows = len(data)
        memory = Memory(
            z=data.get("z", None),
            seen=data["seen"],
            fresh=torch.ones(rows),
            base={name[5:]: value for name, value in state.items()},
            age=torch.zeros(rows, dtype=torch.long),
        )
        memory, imagined = self.world.step(memory, data["action"])
        for name, value in _kept(memory).items():
            data[name] = value
        data["reward"] = imagined.reward[:, None]
        return data


def _kept(memory: Memory) -> dict[str, Tensor]:
    """What changes from one imagined step to the next, where each is decoded."""
    kept = {"seen": memory.seen} | {f"base {path}": v for path, v in memory.base.items()}
    return kept if memory.z is None else kept | {"z": memory.z}


class _Env(ModelBasedEnvBase):
    def __init__(self, steps: _Steps, memory: Memory, width: int) -> None:
        super().__init__(cast(TensorDictModule, steps))  # any module that maps tensordicts will do
        specs = {name: Unbounded(value.shape[1:]) for name, value in _kept(memory).items()}
        self.observation_spec = Composite(specs)
        self.state_spec = Composite({name: spec.clone() for name, spec in specs.items()})
        self.action_spec = Bounded(-1.0, 1.0, torch.Size([width]))
        self.reward_spec = Unbounded(torch.Size([1]))

    def _reset(self, tensordict: TensorDict, **kwargs: Any) -> TensorDict:
        raise NotImplementedError("plans begin where they are told to")


def _torchrl(
    adapter: WorldModel,
    think: Any,
    memory: Memory,
    horizon: int,
    candidates: int,
    iterations: int,
    elites: int,
    reused: bool = False,
) -> Callable[[], Tensor]:
    env = _Env(_Steps(adapter, think), memory, adapter.actions.width)
    planner = CEMPlanner(env, horizon, iterations, candidates, elites)
    start = TensorDict({name: value[0] for name, value in _kept(memory).items()})
    start["done"] = start["terminated"] = torch.zeros(1, dtype=torch.bool)

    @torch.inference_mode()
    def plan() -> Tensor:
        if not reused:
            return planner.planning(start)
        with reuse_weights():
            return planner.planning(start)

    return plan


if __name__ == "__main__":
    main()

"""Imagined steps a second against how many are made at once.

As an environment (`LoopedWorldVectorEnv`), whose rows are computed so many at a time whatever is beside
them, and by `Imagination`, which planners step and which computes just the rows there are. In turns;
medians. Without `--run` the weights are as initialised: only the shape matters.

    OMP_NUM_THREADS=1 python benchmarks/imagined_steps.py
    OMP_NUM_THREADS=1 python benchmarks/imagined_steps.py --run runs/NAME --lanes 64
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from loopverse import LoopedModel
from loopverse.nn import reuse_weights
from loopverse.training import build_model, load
from loopverse.training.compose import compose
from loopverse_world_model import WorldModel
from loopverse_world_model.environment import LoopedWorldVectorEnv
from loopverse_world_model.imagination import Imagination

Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", help="run folder; default: a model as initialised")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--lanes", type=int, help="rows that an environment computes at once")
    parser.add_argument("--loops", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("overrides", nargs="*", help="settings of a model as initialised")
    options = parser.parse_intermixed_args()
    model = _model(options.run, options.overrides)
    ways = {
        "environment": [
            _environment(model, rows, options.loops, options.lanes) for rows in options.rows
        ],
        "imagination": [_imagination(model, rows, options.loops) for rows in options.rows],
    }
    taken: dict[str, list[list[float]]] = {name: [[] for _ in options.rows] for name in ways}
    for _ in range(options.repeats):
        for name, steps in ways.items():
            for step, seconds in zip(steps, taken[name], strict=True):
                seconds.append(_seconds(step, options.steps))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.loops} loops")
    print("| rows | environment, steps/s | times one row | imagination, steps/s | times one row |")
    print("|---|---|---|---|---|")
    rates = {
        name: [
            rows * options.steps / statistics.median(seconds)
            for rows, seconds in zip(options.rows, lists, strict=True)
        ]
        for name, lists in taken.items()
    }
    for place, rows in enumerate(options.rows):
        cells = [f"{rate[place]:.0f} | {rate[place] / rate[0]:.1f}" for rate in rates.values()]
        print(f"| {rows} | {' | '.join(cells)} |")


def _model(run: str | None, overrides: list[str]) -> LoopedModel:
    if run is not None:
        return load(run, device="cpu").model
    torch.manual_seed(0)
    return build_model(
        compose(["domain=world_model", "domain.transitions=1000", *overrides])
    ).eval()


def _environment(model: LoopedModel, rows: int, loops: int, lanes: int | None) -> Step:
    env = LoopedWorldVectorEnv(rows, model=model, loops=loops, lanes=lanes)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = env.action_space.sample()

    def step() -> None:
        env.step(actions)

    return step


def _imagination(model: LoopedModel, rows: int, loops: int) -> Step:
    adapter = model.adapter
    assert isinstance(adapter, WorldModel)
    world = Imagination(adapter.dynamics, model.bind(loops))
    memory = world.begin(rows)
    actions = torch.zeros(rows, adapter.actions.width)

    @torch.no_grad()
    def step() -> None:
        nonlocal memory
        memory, imagined = world.step(memory, actions)
        float(imagined.reward.sum())

    return step


def _seconds(step: Step, steps: int) -> float:
    with reuse_weights():
        step()
        began = time.perf_counter()
        for _ in range(steps):
            step()
        return time.perf_counter() - began


if __name__ == "__main__":
    main()

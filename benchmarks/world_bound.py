"""The bound of the refinement: none, linear (LoopWM's), full, and the plain block(h + e), one setting changed.

Error at horizons 5 and 20, the measured contraction of one loop's map, and 1 000 imagined steps under random actions
at 1, 2 and 4 times the trained number of loops. Finished runs are kept and not trained again.

    python benchmarks/world_bound.py --envs Pendulum-v1 --seeds 0 1 2
"""

import argparse
from itertools import product
from pathlib import Path

import torch
from once import over_seeds, shown
from world_runs import error, trained

from loopverse.training import LoadedRun
from loopverse_world_model import WorldModel
from loopverse_world_model.evaluation.rollouts import rollouts

ARMS = {
    "none": ["core.injection.bound=none"],
    "linear": [],
    "full": ["core.injection.bound=full"],
    "plain": ["core/injection=add"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--envs", nargs="+", default=["Pendulum-v1", "Acrobot-v1"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--folder", type=Path, default=Path("runs/world_bound"))
    parser.add_argument("--only-train", action="store_true", help="train, no table")
    parser.add_argument("overrides", nargs="*", help="settings of all runs")
    options = parser.parse_intermixed_args()

    def run_of(env: str, seed: int, arm: str) -> LoadedRun:
        more = [f"domain.env={env}", f"seed={seed}", f"training.steps={options.steps}", *ARMS[arm]]
        return trained(options.folder, f"{env}-{arm}-{seed}", [*more, *options.overrides])

    if options.only_train:
        for seed, env, arm in product(options.seeds, options.envs, ARMS):
            run_of(env, seed, arm)
        return
    for env in options.envs:
        print(f"\n{env}\n")
        print(
            "| bound | loops | error at 5 | at 20 | largest measured gain | certified | "
            "left 10 x the data's range | largest state norm | spread after 1 000 steps |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for arm in ARMS:
            runs = [run_of(env, seed, arm) for seed in options.seeds]
            trained_loops = runs[0].config.schedule.typical()
            for loops in (trained_loops, 2 * trained_loops, 4 * trained_loops):
                print(row(arm, runs, loops))


@torch.no_grad()
def row(arm: str, runs: list[LoadedRun], loops: int) -> str:
    """One line of the table: means over seeds with intervals, the largest of all for gains."""
    errors = [[error(run, horizon, loops) for run in runs] for horizon in (5, 20)]
    found = []
    for run in runs:
        adapter = run.model.adapter
        assert isinstance(adapter, WorldModel)
        (one,) = rollouts(adapter, run.model.bind, [loops])
        found.append(one)
    certified = [run.model.core.certified_gain for run in runs]
    numbers = [gain for gain in certified if gain is not None]
    left = sum(int(one.left.sum()) for one in found)
    total = sum(len(one.left) for one in found)
    return (
        f"| {arm} | {loops} | {shown(over_seeds(errors[0]))} | {shown(over_seeds(errors[1]))} | "
        f"{max(float(one.gains.max()) if len(one.gains) else float('inf') for one in found):.3f} | "
        f"{f'{max(numbers):.3f}' if numbers else 'nothing'} | {left} of {total} | "
        f"{max(float(one.norm.max()) for one in found):.3g} | "
        f"{max(float(one.spread[-1]) for one in found):.3g} |"
    )


if __name__ == "__main__":
    main()

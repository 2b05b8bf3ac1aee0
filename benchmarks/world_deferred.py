"""Deferred decoding: error and time against decoding every step, and each of its losses left out.

All arms imagine in the latent state; the same code with one setting changed. Error at the horizons 1 to 20, and
the seconds that a rollout of K steps takes with a decoded observation at every step or at the last only.

    python benchmarks/world_deferred.py --env Pendulum-v1 --seeds 0 1 2
"""

import argparse
import time
from pathlib import Path
from statistics import median

import torch
from once import over_seeds, shown
from world_runs import error, trained

from loopverse.training import LoadedRun
from loopverse_world_model import WorldModel
from loopverse_world_model.imagination import Imagination

HORIZONS = (1, 2, 5, 10, 15, 20)
DEFERRED = ["domain.decode=deferred", "domain.growth=10"]
ARMS = {
    "every step": [],
    "deferred": DEFERRED,
    "without the latent loss": [*DEFERRED, "domain.latent_weight=0"],
    "without the smoothness loss": [*DEFERRED, "domain.smooth_weight=0"],
    "the terminal loss alone": [*DEFERRED, "domain.latent_weight=0", "domain.smooth_weight=0"],
    "without the curriculum": ["domain.decode=deferred"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default="Pendulum-v1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--folder", type=Path, default=Path("runs/world_deferred"))
    parser.add_argument("--only-train", action="store_true", help="train, no table")
    parser.add_argument("overrides", nargs="*", help="settings of all runs")
    options = parser.parse_intermixed_args()

    def run_of(seed: int, arm: str) -> LoadedRun:
        more = [f"domain.env={options.env}", f"seed={seed}", f"training.steps={options.steps}"]
        more += ["domain.imagine=latent", *ARMS[arm], *options.overrides]
        return trained(options.folder, f"{arm.replace(' ', '-')}-{seed}", more)

    runs = {arm: [run_of(seed, arm) for seed in options.seeds] for arm in ARMS}
    if options.only_train:
        return
    print(f"{options.env}: open-loop error at a horizon, standard deviations of the data\n")
    print("| arm | " + " | ".join(map(str, HORIZONS)) + " | training seconds |")
    print("|---" * (len(HORIZONS) + 2) + "|")
    for arm, ones in runs.items():
        cells = [shown(over_seeds([error(run, h) for run in ones])) for h in HORIZONS]
        seconds = [run.folder.rows.read("train")[-1]["seconds"] for run in ones]
        print(f"| {arm} | " + " | ".join(cells) + f" | {median(seconds):.0f} |")
    print("\n| K | every step decoded, ms | the last only, ms | ratio |\n|---|---|---|---|")
    for steps in range(1, 21):
        print(timed(runs["deferred"][0], steps))


@torch.inference_mode()
def timed(run: LoadedRun, steps: int, rows: int = 64, repeats: int = 15) -> str:
    """Medians of interleaved rollouts."""
    adapter = run.model.adapter
    assert isinstance(adapter, WorldModel)
    world = Imagination(adapter.dynamics, run.model.bind(run.config.schedule.typical()))
    start = next(adapter.batches("valid", batch_size=rows, seed=0))["observation"][:, 0]
    actions = torch.rand(steps, rows, adapter.actions.width) * 2 - 1

    def once(every: bool) -> float:
        began = time.perf_counter()
        memory = world.observe(world.begin(len(start)), start)
        for step, action in enumerate(actions, 1):
            memory, imagined = world.step(memory, action)
            if every or step == steps:
                _ = imagined.observation
        return time.perf_counter() - began

    pairs = [(once(True), once(False)) for _ in range(repeats)]
    both = [1000 * median(times) for times in zip(*pairs, strict=True)]
    ratio = median(late / early for early, late in pairs)
    return f"| {steps} | {both[0]:.2f} | {both[1]:.2f} | {ratio:.3f} |"


if __name__ == "__main__":
    main()

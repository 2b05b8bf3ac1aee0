"""Loops against parameters: how many untied parameters does a looped world model stand for?

The same code with `core.loops`, `core.tied` and, beyond eight layers, `core.width` changed; equal data and
steps. Looped models run their one layer 1, 2, 4 or 8 times; untied ones own 1, 2, 4 or 8 layers, and eight
wider ones for 16 and 32 times the parameters. Finished runs are kept and not trained again.

    python benchmarks/world_parameters.py --envs Pendulum-v1 Acrobot-v1 --seeds 0 1 2
"""

import argparse
import math
import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from once import over_seeds, shown
from world_runs import error, trained

from loopverse.training import LoadedRun

HORIZON = 20
ARMS = {
    "looped": [(loops, True, 1.0) for loops in (1, 2, 4, 8)],
    "untied": [
        (1, True, 1.0),
        (2, False, 1.0),
        (4, False, 1.0),
        (8, False, 1.0),
        (8, False, math.sqrt(2)),
        (8, False, 2.0),
    ],
}
"""Loops (or layers), tied, width over that of the looped model."""


def settings(loops: int, tied: bool, wide: float, width: int) -> list[str]:
    """The overrides of an arm; heads do not matter to a state of one unit, but must divide the width."""
    wider = 2 * round(width * wide / 2)
    return [f"core.loops={loops}", f"core.tied={str(tied).lower()}", f"core.width={wider}"]


def parameters_for(target: float, points: Sequence[tuple[float, float]]) -> float | None:
    """Parameters at which the untied models reach an error, by straight lines between logarithms.

    None where even the largest does not; the smallest, where that is already as good.
    """
    best = math.inf
    for (size, value), (larger, next_value) in zip(points, [*points[1:], (0.0, 0.0)], strict=True):
        best = min(best, value)
        if value <= target:
            return size
        if larger and next_value <= target:
            share = math.log(value / target) / math.log(value / next_value)
            return size * (larger / size) ** share
    return None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--envs", nargs="+", default=["Pendulum-v1", "Acrobot-v1"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--folder", type=Path, default=Path("runs/world_parameters"))
    parser.add_argument("--only-train", action="store_true", help="train, no table")
    parser.add_argument("overrides", nargs="*", help="settings of all runs")
    options = parser.parse_intermixed_args()
    arms = list(dict.fromkeys([*ARMS["looped"], *ARMS["untied"]]))

    def run_of(env: str, seed: int, arm: tuple[int, bool, float]) -> LoadedRun:
        loops, tied, wide = arm
        name = f"{env}-{'looped' if tied else 'untied'}{loops}-{wide:.2f}-{seed}"
        more = [f"domain.env={env}", f"seed={seed}", f"training.steps={options.steps}"]
        more += ["schedule=constant", *settings(loops, tied, wide, options.width)]
        return trained(options.folder, name, [*more, *options.overrides])

    if options.only_train:
        for seed, env in product(options.seeds, options.envs):
            for arm in arms:
                run_of(env, seed, arm)
        return
    for env in options.envs:
        sizes = dict.fromkeys(arms, 0)
        errors: dict[tuple[int, bool, float], list[float]] = {arm: [] for arm in arms}
        for arm in arms:
            runs = [run_of(env, seed, arm) for seed in options.seeds]
            sizes[arm] = sum(p.numel() for p in runs[0].model.parameters())
            errors[arm] = [error(run, HORIZON) for run in runs]
        print(f"\n{env}: open-loop error at horizon {HORIZON}, standard deviations of the data\n")
        print(
            "| model | parameters | of the looped | error | stands for untied parameters, times |"
        )
        print("|---|---|---|---|---|")
        one = sizes[arms[0]]
        for arm in arms:
            loops, tied, _ = arm
            title = f"looped, {loops}" if tied else f"untied, {loops} layers of {sizes[arm]}"
            title = title if tied else f"untied, {loops} layers"
            multiple = multiplier(errors, sizes, arm, one) if tied else ""
            print(
                f"| {title} | {sizes[arm]} | {sizes[arm] / one:.1f} | {shown(over_seeds(errors[arm]))} | {multiple} |"
            )


def multiplier(
    errors: dict[tuple[int, bool, float], list[float]],
    sizes: dict[tuple[int, bool, float], int],
    arm: tuple[int, bool, float],
    one: int,
) -> str:
    """Times its own parameters that the untied models need for the error of a looped one.

    The interval is the middle 95 % of 2 000 resamples of the seeds of every model.
    """
    rng, count = random.Random(0), len(errors[arm])

    def once(resample: bool) -> float | None:
        def value(which: tuple[int, bool, float]) -> float:
            found = errors[which]
            drawn = [rng.choice(found) for _ in range(count)] if resample else found
            return sum(drawn) / count

        points = [(float(sizes[a]), value(a)) for a in ARMS["untied"]]
        found = parameters_for(value(arm), points)
        return None if found is None else found / one

    largest = max(sizes.values()) / one
    drawn = sorted(found or math.inf for found in (once(True) for _ in range(2000)))
    low, high = drawn[50], drawn[1949]

    def said(number: float | None) -> str:
        return (
            f"more than {largest:.0f}" if number is None or math.isinf(number) else f"{number:.1f}"
        )

    return f"{said(once(False))} ({said(low)} to {said(high)})"


if __name__ == "__main__":
    main()

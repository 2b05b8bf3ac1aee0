"""Quality of masked-diffusion samples against block evaluations, over seeds: loops, steps, allocations.

Three tables of texts made from nothing, judged by an autoregressive run: loops x steps; ways to
share out the same mean number of loops over the steps; and the exit on latent change, with what it
saves in block evaluations and in seconds. Intervals are over the runs (seeds), 95 %. A low
generative perplexity can be had by dull texts: entropy and distinct-2 stand beside it.

Compute goes on from what the folder holds: a row that was measured is not measured again.

    python benchmarks/masked_quality.py RUN RUN RUN --judge RUN --folder runs/quality
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from loopverse.analysis import Quality, evaluate_quality
from loopverse.analysis.statistics import estimate
from loopverse.depth import (
    Decreasing,
    Even,
    FixedDepth,
    FixedPoint,
    Halting,
    Increasing,
    LoopBudget,
    Peaked,
)
from loopverse.training import RunFolder
from loopverse_masked_diffusion import MaskedDiffusionSampling

BUDGETS: dict[str, LoopBudget] = {
    "even": Even(),
    "decreasing": Decreasing(),
    "increasing": Increasing(),
    "peaked": Peaked(),
}


class Measurements:
    """Rows of quality by run and setting, kept in a file.

    Args:
        path: of the file.
        judge: the run that judges.
        samples: texts of a row.
    """

    def __init__(self, path: Path, judge: Path, samples: int) -> None:
        self._path = path
        self._judge = judge
        self._samples = samples
        self._rows: dict[str, dict] = json.loads(path.read_text()) if path.exists() else {}

    def row(
        self,
        run: Path,
        name: str,
        loops: int,
        steps: int,
        budget: LoopBudget | None = None,
        halting: Halting | None = None,
    ) -> Quality:
        """One row of one run; `name` tells settings apart."""
        key = f"{run.name} {name} loops={loops} steps={steps} samples={self._samples}"
        if key not in self._rows:
            [found] = evaluate_quality(
                run,
                [loops],
                [steps],
                judge=self._judge,
                samples=self._samples,
                budget=budget or Even(),
                halting=halting or FixedDepth(),
                settings=MaskedDiffusionSampling(length=255, temperature=1.0),
            ).rows
            self._rows[key] = vars(found)
            self._path.write_text(json.dumps(self._rows, indent=1) + "\n", encoding="utf-8")
        return Quality(**self._rows[key])


def over_runs(values: Sequence[float], digits: int = 2) -> str:
    """Mean and interval."""
    found = estimate(values, [1.0] * len(values))
    margin = "" if found.margin is None else f" ± {found.margin:.{digits}f}"
    return f"{found.value:.{digits}f}{margin}"


def cells(rows: Sequence[Quality]) -> str:
    """What every table says of a setting."""
    perplexity = [math.exp(row.nats_per_token.value) for row in rows]
    entropy = [row.entropy.value for row in rows]
    pairs = [row.distinct[1] for row in rows]
    blocks = sum(row.blocks for row in rows) / len(rows)
    return (
        f"{blocks:.0f} | {over_runs(perplexity)} | {over_runs(entropy)} | {over_runs(pairs, 3)} |"
    )


def plot(path: Path, grid: dict[int, list[list[Quality]]]) -> None:
    """Perplexity against block evaluations, a line for each number of loops."""
    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for loops, points in grid.items():
        blocks = [sum(row.blocks for row in rows) / len(rows) for rows in points]
        found = [
            estimate([math.exp(row.nats_per_token.value) for row in rows], [1.0] * len(rows))
            for rows in points
        ]
        axes.errorbar(
            blocks,
            [one.value for one in found],
            [one.margin or 0.0 for one in found],
            marker="o",
            capsize=2,
            label=f"{loops} loop{'' if loops == 1 else 's'}",
        )
    axes.set(xscale="log", xlabel="block evaluations a text", ylabel="generative perplexity")
    axes.legend(frameon=False)
    figure.savefig(path)


HEAD = "block evaluations | generative perplexity | entropy, bits a byte | distinct-2 |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", help="one per seed")
    parser.add_argument("--judge", type=Path, required=True, help="an autoregressive run")
    parser.add_argument("--folder", type=Path, default=Path("runs/masked_quality"))
    parser.add_argument("--loops", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--mean", type=int, default=4, help="loops that the allocations share out")
    parser.add_argument("--middle", type=int, default=32, help="steps of the last two tables")
    parser.add_argument("--most", type=int, default=12, help="loops before the exit")
    parser.add_argument("--tolerance", type=float, nargs="+", default=[0.2, 0.1, 0.05])
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--plot", type=Path, help="also draw the first table, as SVG or PNG")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    runs = [RunFolder.open(run).path for run in options.runs]
    files = {
        run: Measurements(options.folder / f"{run.name}.json", options.judge, options.samples)
        for run in runs
    }

    def rows(
        name: str, loops: int, steps: int, budget: LoopBudget | None, halting: Halting | None
    ) -> list[Quality]:
        return [files[run].row(run, name, loops, steps, budget, halting) for run in runs]

    print(f"{len(runs)} runs, {options.samples} texts a row, judge {options.judge.name}\n")
    print(f"| loops | steps | {HEAD}\n|---|---|---|---|---|---|")
    grid: dict[int, list[list[Quality]]] = {loops: [] for loops in options.loops}
    for loops in options.loops:
        for steps in options.steps:
            found = rows("even", loops, steps, None, None)
            grid[loops].append(found)
            print(f"| {loops} | {steps} | {cells(found)}", flush=True)
    if options.plot is not None:
        plot(options.plot, grid)
    print(
        f"\n| {options.mean} loops on average, {options.middle} steps | {HEAD}\n|---|---|---|---|---|"
    )
    for name, budget in BUDGETS.items():
        found = rows(name, options.mean, options.middle, budget, None)
        print(f"| {name} | {cells(found)}", flush=True)
    print(f"\n| exit below | {HEAD} blocks saved | seconds saved |\n|---|---|---|---|---|---|---|")
    full = rows("even", options.most, options.middle, None, None)
    print(f"| never ({options.most} loops) | {cells(full)} | |", flush=True)
    for tolerance in options.tolerance:
        rule = FixedPoint(tolerance=tolerance, per="sequence")
        found = rows(f"exit below {tolerance}", options.most, options.middle, None, rule)
        blocks = [1 - one.blocks / whole.blocks for one, whole in zip(found, full, strict=True)]
        seconds = [1 - one.seconds / whole.seconds for one, whole in zip(found, full, strict=True)]
        print(
            f"| {tolerance} | {cells(found)} {over_runs(blocks, 3)} | {over_runs(seconds, 3)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

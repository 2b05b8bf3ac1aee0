"""Training FLOPs to a target: the looped masked-diffusion model against the same model without loops.

Three arms, the same code with one setting changed: `looped` (early layers loop, a depth drawn for each
step), `unlooped` (the same layers, each run once: the same size) and `deeper` (unlooped, with as many
layers as the looped one applies on average: the same FLOPs a step). The target of a seed is the
smoothed held-out bound that its unlooped model ends with; the figure is the unlooped model's FLOPs at
that end over an arm's FLOPs when it first gets there. Held-out windows and masks are the same for all.

A moving average of the weights is measured under a constant learning rate, so that every point of a
curve counts as an end. Finished runs are kept and not run again.

    python benchmarks/masked_flops_to_target.py --seeds 0 1 2
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from loopverse.analysis.efficiency import measure_cost
from loopverse.analysis.statistics import estimate
from loopverse.training import RunFolder, build_model, train
from loopverse.training.compose import compose
from loopverse.training.config import TrainConfig
from loopverse.training.progress import PlainReporter

METRIC = "bits_per_byte"
ARMS = {
    "looped": [],
    "unlooped": ["core.loops=1"],
    "deeper": ["core.loops=1", "core.num_loop=5"],
}
COMMON = ["domain=masked_diffusion", "rate=trapezoid", "rate.cooldown=0", "training.ema=0.99"]


@dataclass
class Curve:
    """Held-out bits per byte of a run over its training FLOPs.

    Attributes:
        flops: forward and backward, of all tokens so far.
        bits: at each of them.
    """

    flops: list[float]
    bits: list[float]

    def first_below(self, target: float) -> float | None:
        """FLOPs at which the curve first reaches the target, between its points linearly."""
        before: tuple[float, float] | None = None
        for flops, bits in zip(self.flops, self.bits, strict=True):
            if bits <= target:
                if before is None:
                    return flops
                share = (before[1] - target) / (before[1] - bits)
                return before[0] + share * (flops - before[0])
            before = flops, bits
        return None


def config_of(
    arm: str, seed: int, steps: int, every: int, folder: Path, more: list[str]
) -> TrainConfig:
    """The settings of one run."""
    return compose(
        [
            *COMMON,
            f"training.steps={steps}",
            f"training.evaluate_every={every}",
            f"training.checkpoint_every={every}",
            "training.trackers=[]",
            f"seed={seed}",
            f"runs={folder}",
            f"name={arm}-{seed}",
            *ARMS[arm],
            *more,
        ]
    )


def curve_of(config: TrainConfig, run: RunFolder) -> Curve:
    """The curve of a finished run: three times the forward FLOPs of the depth that each step drew."""
    model = build_model(config)
    batch = next(model.adapter.batches("train", batch_size=1, seed=0))
    batch = model.adapter.prepare(batch, torch.Generator().manual_seed(0))
    cost = measure_cost(model, batch)
    per_unit: dict[int, float] = {}
    spent, seen, spent_at = 0.0, 0, {}
    for row in run.rows.read("train"):
        depth = int(row["depth"])
        if depth not in per_unit:
            per_unit[depth] = cost.per_unit(model.core, depth)
        spent += 3 * per_unit[depth] * (row["units"] - seen)  # a row counts all units so far
        seen = row["units"]
        spent_at[row["step"]] = spent
    rows = run.rows.read("valid")
    return Curve([spent_at[row["step"]] for row in rows], [row[METRIC] for row in rows])


def plot(path: Path, curves: dict[str, list[Curve]]) -> None:
    """Bits per byte over training FLOPs, a line for each run."""
    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for number, (arm, runs) in enumerate(curves.items()):
        for index, run in enumerate(runs):
            teraflops = [flops / 1e12 for flops in run.flops]
            label = arm if index == 0 else None
            axes.plot(teraflops, run.bits, color=f"C{number}", linewidth=1, label=label)
    axes.set(xlabel="training TFLOPs", ylabel="held-out bits per byte, bound", ylim=(None, 3.6))
    axes.legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--every", type=int, default=50, help="steps between measurements")
    parser.add_argument("--folder", type=Path, default=Path("runs/masked_flops_to_target"))
    parser.add_argument("--arms", choices=ARMS, nargs="+", default=list(ARMS))
    parser.add_argument("--plot", type=Path, help="also draw the curves, as SVG or PNG")
    parser.add_argument("overrides", nargs="*", help="settings of all runs")
    options = parser.parse_intermixed_args()
    curves: dict[str, list[Curve]] = {arm: [] for arm in options.arms}
    for seed in options.seeds:
        for arm in options.arms:
            config = config_of(
                arm, seed, options.steps, options.every, options.folder, options.overrides
            )
            path = options.folder / config.name
            if not (path / "summary.json").exists():
                train(config, run=path if path.exists() else None, reporter=PlainReporter(every=60))
            curves[arm].append(curve_of(config, RunFolder.open(path)))
    if options.plot is not None:
        plot(options.plot, curves)
    if "unlooped" in curves:  # the target is its end
        report(curves, options.folder)


def report(curves: dict[str, list[Curve]], folder: Path) -> None:
    """Print the table, and write the curves beside the runs."""
    targets = [curve.bits[-1] for curve in curves["unlooped"]]
    print(
        "| arm | bits per byte at the end | training TFLOPs | FLOPs to target, fewer by | reached |"
    )
    print("|---|---|---|---|---|")
    for arm, runs in curves.items():
        end = estimate([run.bits[-1] for run in runs], [1.0] * len(runs))
        reached = [run.first_below(target) for run, target in zip(runs, targets, strict=True)]
        factors = [
            math.log(base.flops[-1] / flops)
            for base, flops in zip(curves["unlooped"], reached, strict=True)
            if flops is not None
        ]
        factor = "not reached"
        if factors:
            found = estimate(factors, [1.0] * len(factors))
            factor = f"{math.exp(found.value):.2f}"
            if found.margin is not None:
                low, high = found.value - found.margin, found.value + found.margin
                factor += f" ({math.exp(low):.2f} to {math.exp(high):.2f})"
        margin = "" if end.margin is None else f" ± {end.margin:.4f}"
        print(
            f"| {arm} | {end.value:.4f}{margin} | {runs[0].flops[-1] / 1e12:.1f} | {factor} | "
            f"{len(factors)} of {len(runs)} seeds |"
        )
    content = {arm: [vars(run) for run in runs] for arm, runs in curves.items()}
    (folder / "curves.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

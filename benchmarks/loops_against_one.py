"""Four loops against one: the default run, the same core at one loop at equal tokens and at equal FLOPs.

Each comparison is the same code with the number of loops (and of steps) changed, over several
seeds; differences are taken seed by seed. Finished runs are kept and not run again.

    python benchmarks/loops_against_one.py --seeds 0 1 2
"""

import argparse
import sys
from pathlib import Path

import torch

from loopverse.analysis.depths import DepthTable
from loopverse.analysis.efficiency import measure_cost
from loopverse.analysis.evaluate import FILE, evaluate_run
from loopverse.analysis.statistics import Estimate, estimate
from loopverse.training import build_model, train
from loopverse.training.compose import compose
from loopverse.training.progress import PlainReporter

LOOPS = 4


def flops_per_unit(loops: int, overrides: list[str]) -> float:
    """Forward FLOPs of one token, from the model that the settings describe."""
    config = compose([f"core.loops={loops}", *overrides])
    model = build_model(config)
    batch = next(model.adapter.batches("train", batch_size=1, seed=0))
    batch = model.adapter.prepare(batch, torch.Generator().manual_seed(0))
    return measure_cost(model, batch).per_unit(model.core, loops)


def trained(folder: Path, name: str, loops: int, steps: int, seed: int, more: list[str]) -> float:
    """Bits per byte on the whole held-out split, of a run that is trained if it is not there yet."""
    run = folder / name
    if not (run / "summary.json").exists():
        config = compose(
            [
                f"core.loops={loops}",
                f"training.steps={steps}",
                f"training.evaluate_every={steps}",
                f"training.checkpoint_every={steps}",
                f"seed={seed}",
                f"runs={folder}",
                f"name={name}",
                *more,
            ]
        )
        train(config, run=run if run.exists() else None, reporter=PlainReporter(every=60))
    if (run / FILE).exists():
        table = DepthTable.load(run / FILE)
    else:
        table = evaluate_run(
            run, [loops], checkpoint="last", batch_size=32, max_batches=sys.maxsize
        )
    return table.value(table.reference).value


def with_interval(found: Estimate) -> str:
    return (
        f"{found.value:.4f}" if found.margin is None else f"{found.value:.4f} ± {found.margin:.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--folder", type=Path, default=Path("runs/loops_against_one"))
    parser.add_argument(
        "--only",
        choices=["looped", "tokens", "flops"],
        action="append",
        help="train these, no table",
    )
    parser.add_argument("overrides", nargs="*", help="settings of all runs")
    options = parser.parse_intermixed_args()
    more = options.overrides
    ratio = flops_per_unit(LOOPS, more) / flops_per_unit(1, more)
    kinds = {
        "looped": (LOOPS, options.steps, f"{LOOPS} loops"),
        "tokens": (1, options.steps, "1 loop, equal tokens"),
        "flops": (1, round(options.steps * ratio), "1 loop, equal FLOPs"),
    }
    values = {
        kind: [
            trained(options.folder, f"{kind}-{seed}", loops, steps, seed, more)
            for seed in options.seeds
        ]
        for kind, (loops, steps, _) in kinds.items()
        if options.only is None or kind in options.only
    }
    if options.only is not None:
        return
    print(f"forward FLOPs per token, {LOOPS} loops over 1: {ratio:.3f}")
    print("| | steps | held-out bits per byte | minus the looped model, seed by seed |")
    print("|---|---|---|---|")
    for kind, (_, steps, title) in kinds.items():
        differences = [b - a for a, b in zip(values["looped"], values[kind], strict=True)]
        ones = [1.0] * len(differences)
        gain = "" if kind == "looped" else with_interval(estimate(differences, ones))
        print(f"| {title} | {steps} | {with_interval(estimate(values[kind], ones))} | {gain} |")


if __name__ == "__main__":
    main()

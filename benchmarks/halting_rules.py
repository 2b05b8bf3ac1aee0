"""Halting rules on trained models: what each saves for a stated loss of quality, and how far it is from the oracle.

Every arm is the same code on the same data with one setting changed:

    plain   the domain's default: no gate
    after   a gate learned on the frozen plain model (`objective=gate_distillation`)
    joint   model and gate learned together (`halting=exit_gate objective=expected`)
    twice   the gate of `joint` learned once more on the frozen model (Ouro's second stage)

Rules without a head are calibrated on `plain` and `joint`, the gate where there is one. The oracle is the
first loop after which a unit's loss is as low as it gets. A row is the mean over seeds, with the 95 % interval
over them. Finished runs and calibrations are kept and not made again.

    python benchmarks/halting_rules.py --domains autoregressive masked_diffusion world_model --seeds 0 1 2
"""

import argparse
import math
from pathlib import Path

from once import over_seeds

from loopverse.analysis.calibrate import calibrate_run
from loopverse.analysis.calibration import Calibrated, Calibration
from loopverse.exhibit import Estimate
from loopverse.memory import keep_freed_memory
from loopverse.training import RunFolder, train
from loopverse.training.calibrated import FILE
from loopverse.training.compose import compose
from loopverse.training.progress import PlainReporter

GATE = ["halting=exit_gate", "objective=expected"]
TAUGHT = ["halting=exit_gate", "objective=gate_distillation"]
ARMS = {
    "plain": ("", []),
    "after": ("plain", TAUGHT),
    "joint": ("", GATE),
    "twice": ("joint", TAUGHT),
}
"""What an arm starts from, and its settings."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    domains = ["autoregressive", "masked_diffusion", "world_model"]
    parser.add_argument("--domains", nargs="+", default=domains)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--loops", type=int, help="the most that a unit gets (as in training)")
    parser.add_argument("--gate-steps", type=int, default=300, help="of `after` and `twice`")
    parser.add_argument("--max-increase", type=float, default=0.005)
    parser.add_argument("--batch-size", type=int, help="of calibration (as in training)")
    parser.add_argument("--folder", type=Path, default=Path("runs/halting_rules"))
    parser.add_argument("overrides", nargs="*", help="settings of all runs")
    options = parser.parse_intermixed_args()
    keep_freed_memory()
    for domain in options.domains:
        print(f"\n{domain}\n")
        print(
            "| arm | rule | change of the metric, % | mean loops | oracle | off, loops | rank correlation "
            "| time | time in loops saved, % |\n|---|---|---|---|---|---|---|---|---|"
        )
        for arm in options.arms:
            found = [_calibrated(options, domain, arm, seed) for seed in options.seeds]
            for line in _lines(arm, found):
                print(line, flush=True)


def _calibrated(options: argparse.Namespace, domain: str, arm: str, seed: int) -> Calibration:
    run = _trained(options, domain, arm, seed)
    if not (run.path / FILE).exists():
        calibrate_run(
            run,
            [run.config.halting] if arm in ("after", "twice") else None,
            loops=options.loops,
            max_increase=options.max_increase,
            checkpoint="last",
            batch_size=options.batch_size,
        )
    return Calibration.load(run.path)


def _trained(options: argparse.Namespace, domain: str, arm: str, seed: int) -> RunFolder:
    start, settings = ARMS[arm]
    name = f"{domain}-{arm}-{seed}"
    path = options.folder / name
    if (path / "summary.json").exists():
        return RunFolder.open(path)
    words = [f"domain={domain}", f"seed={seed}", f"runs={options.folder}", f"name={name}"]
    if start:
        first = _trained(options, domain, start, seed)
        words += [f"training.start_from={first.path}", f"training.steps={options.gate_steps}"]
    if path.exists():
        return train(run=path, reporter=PlainReporter(every=120)).folder
    config = compose([*words, *settings, *options.overrides])
    return train(config, reporter=PlainReporter(every=120)).folder


def _lines(arm: str, found: list[Calibration]) -> list[str]:
    oracle = f"{over_seeds([one.oracle for one in found]).value:.2f}"
    rows: dict[str, list[Calibrated]] = {}
    for one in found:
        for row in [*(one.fixed if arm == "plain" else ()), *one.rules]:
            rows.setdefault(row.name, []).append(row)
    return [f"| {arm} | {name} | {_cells(same, oracle)} |" for name, same in rows.items()]


def _cells(rows: list[Calibrated], oracle: str) -> str:
    follows = [row.correlation for row in rows if not math.isnan(row.correlation)]
    return " | ".join(
        [
            _shown([100 * row.increase for row in rows], 2, "+"),
            _shown([row.loops for row in rows], 2),
            oracle,
            _shown([row.distance for row in rows], 2),
            _shown(follows, 2, "+") if follows else "",
            _shown([row.seconds for row in rows], 2),
            _shown([100 * row.saved for row in rows], 0),
        ]
    )


def _shown(values: list[float], digits: int, sign: str = "") -> str:
    found: Estimate = over_seeds(values)
    margin = "" if found.margin is None else f" ± {found.margin:.{digits}f}"
    return f"{found.value:{sign}.{digits}f}{margin}"


if __name__ == "__main__":
    main()

"""Puzzles with loops, and with as many parameters or as many FLOPs without them: held-out errors over seeds.

Each task is trained with the loops that its settings name; with one loop, the control of equal parameters; and with
a layer group of its own for every loop, the control of equal FLOPs. Sequences (`a5`, `s5`) are read element by element by
the looped model, two loops each; their controls are transformers that read all elements at once, as is usual.

Then, for sequences, errors up to 32 times the trained length; for puzzles, the mean number of loops by grade under a
rule that stops where the state stands still, with a 95 % interval over held-out puzzles of all seeds.

    OMP_NUM_THREADS=1 python benchmarks/puzzles.py sudoku4 --seeds 0 1 2 --plot sudoku4.svg
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from once import over_seeds, shown, trained_once
from tensordict import TensorDict

from loopverse.analysis import exhibit_panels
from loopverse.analysis.numbers import words
from loopverse.analysis.plots import drawn
from loopverse.analysis.statistics import Estimate, estimate
from loopverse.analysis.theme import standalone_svg
from loopverse.depth import FixedPoint
from loopverse.exhibit import Curves, Series
from loopverse.training import LoadedRun
from loopverse_puzzle.adapter import Puzzle

SEQUENCE = ["core.num_loop=1", "core.width=128", "domain.held_out=256"]
SEQUENCE += ["optimizer.lr=0.003", "optimizer.weight_decay=0"]
CARRIED = ["domain.carried=true", "core/injection=add", "core/init=zeros", "core.loops=2"]
CARRIED += ["core.state_norm=every"]
AT_ONCE = ["core=plain", "core.num_prelude=0", "core.num_coda=0", "core/injection=none"]
AT_ONCE += ["core/init=embed", "core.loops=2"]
TASKS = {
    "sudoku4": ([], 1500, 5),
    "sudoku9": (["domain.kind=sudoku9"], 1000, 5),
    "maze": (["domain.kind=maze", "domain.side=9"], 800, 5),
    "a5": (["domain.kind=a5", "domain.growth=700", "training.batch_size=128"], 5600, 8),
    "s5": (["domain.kind=s5", "domain.growth=1500", "training.batch_size=256"], 9500, 19),
}
"""What is typed for each, the steps of the training, and the evaluations in it."""
SEQUENCES = ("a5", "s5")
LENGTHS = (32, 128, 256, 512, 1024)
LOOPED, ONE, UNTIED = "looped", "one loop", "untied"


def settings(task: str, arm: str) -> list[str]:
    """What is typed after `loopverse train domain=puzzle` for an arm of a task."""
    words, steps, _ = TASKS[task]
    words = [*words, f"training.steps={steps}"]
    if task in SEQUENCES:
        words = [*(CARRIED if arm == LOOPED else AT_ONCE), *SEQUENCE, *words]
    return [*words, *{LOOPED: [], ONE: ["core.loops=1"], UNTIED: ["core.tied=false"]}[arm]]


def trained(folder: Path, task: str, arm: str, seed: int, more: list[str]) -> LoadedRun:
    """A run of an arm, trained if it is not there yet."""
    words = ["domain=puzzle", *settings(task, arm), f"seed={seed}", *more]
    return trained_once(folder, f"{task}-{arm.replace(' ', '-')}-{seed}", words, TASKS[task][2])


@torch.no_grad()
def by_grade(run: LoadedRun, tolerance: float) -> dict[float, list[float]]:
    """Mean loops of each held-out puzzle under the rule, by its grade."""
    rule = FixedPoint(tolerance=tolerance, norm="inf")
    think = run.model.eval().bind(run.config.core.loops, halting=rule)
    loops: dict[float, list[float]] = defaultdict(list)
    for batch in run.model.adapter.batches("valid", batch_size=64, seed=0):
        outcome = run.model.adapter(think, batch)
        assert outcome.depth is not None
        spent = (outcome.depth * outcome.weights).sum(1) / outcome.weights.sum(1)
        for grade, mean in zip(batch["grade"][:, 0].tolist(), spent.tolist(), strict=True):
            loops[grade].append(mean)
    return dict(sorted(loops.items()))


@torch.no_grad()
def by_length(run: LoadedRun) -> dict[int, float]:
    """Wrong cells among the first ones of held-out sequences, per cent, by how many of them."""
    adapter = run.model.eval().adapter
    assert isinstance(adapter, Puzzle)
    drawn = adapter.config.build(LENGTHS[-1]).split(True, 64, torch.Generator().manual_seed(1))
    batch = TensorDict(dict(vars(drawn)), batch_size=[64])
    wrong = ~adapter.correct(adapter(run.model.bind(run.config.core.loops), batch), batch)
    return {length: 100 * float(wrong[:, :length].float().mean()) for length in LENGTHS}


def tell_table(
    runs: dict[str, list[LoadedRun]],
    valid: dict[str, list[list[dict[str, Any]]]],
    names: Sequence[str],
) -> None:
    """Print the last figures of every arm, and how long it was trained."""
    print("| arm | parameters | " + " | ".join(names) + " | seconds |")
    print("|---" * (3 + len(names)) + "|")
    for arm, rows in valid.items():
        last = [seed[-1] for seed in rows]
        cells = [shown(over_seeds([row[name] for row in last]), 2) for name in names]
        seconds = sum(row["seconds"] for row in last) / len(last)
        count = sum(p.numel() for p in runs[arm][0].model.parameters())
        print(f"| {arm} | {count} | " + " | ".join(cells) + f" | {seconds:.0f} |")


def tell_grades(runs: Sequence[LoadedRun], tolerance: float) -> None:
    """Print mean loops by grade, over the puzzles of all runs and run by run."""
    found = [by_grade(run, tolerance) for run in runs]
    print(f"\nmean loops under fixed_point norm=inf tolerance={tolerance:g}:\n")
    for grade in sorted(set().union(*found)):
        seeds = [one.get(grade, []) for one in found]
        means = [mean for one in seeds for mean in one]
        by_seed = ", ".join(f"{sum(one) / len(one):.3f}" for one in seeds if one)
        every = shown(estimate(means, [1.0] * len(means)), 3)
        print(f"- grade {grade:g}: {every} ({len(means)} puzzles), by seed {by_seed}")


def series(name: str, seeds: Sequence[dict[int, float]]) -> Series:
    """The mean over seeds and its interval at every step, or length."""
    points = {x: over_seeds([one[x] for one in seeds]) for x in seeds[0]}
    values, margins = ([getattr(p, part) for p in points.values()] for part in ("value", "margin"))
    return Series(name, list(points), values, margins)


def said(line: Series) -> str:
    """A line in words."""
    margins = line.margins or [None] * len(line.x)
    points = [shown(Estimate(y, m), 2) for y, m in zip(line.y, margins, strict=True)]
    return f"- {line.name}: " + ", ".join(f"{x}: {y}" for x, y in zip(line.x, points, strict=True))


def plot(curves: Sequence[Curves], path: Path) -> None:
    """Draw curves side by side."""
    figure = drawn(*map(exhibit_panels.curves, curves), size=(4.5, 3.2))
    path.write_text(standalone_svg(figure, " ".join(map(exhibit_panels.in_words, curves))))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=[LOOPED, ONE, UNTIED], default=None)
    parser.add_argument("--tolerance", type=float, default=0.1, help="of the rule for grades")
    parser.add_argument("--folder", type=Path, default=Path("runs/puzzles"))
    parser.add_argument("--plot", type=Path, help="where to draw the curves, as SVG")
    parser.add_argument("overrides", nargs="*", help="settings of all runs")
    options = parser.parse_intermixed_args()
    runs = {
        arm: [
            trained(options.folder, options.task, arm, s, options.overrides) for s in options.seeds
        ]
        for arm in options.arms or [LOOPED, ONE, UNTIED]
    }
    valid = {arm: [run.folder.rows.read("valid") for run in ones] for arm, ones in runs.items()}
    names = [name for name in next(iter(valid.values()))[0][-1] if "percent" in name]
    print(f"{options.task}: held out, {len(options.seeds)} seeds\n")
    tell_table(runs, valid, names)
    curve_of = names[-2]  # of the longer sequences, where there are any
    by_step = [
        series(arm, [{row["step"]: row[curve_of] for row in rows} for rows in seeds])
        for arm, seeds in valid.items()
    ]
    curves = [Curves("Held out", "", "steps", words(curve_of), by_step)]
    print(f"\n{curve_of} by step:\n", *map(said, by_step), sep="\n")
    if options.task in SEQUENCES:
        lengths = [series(arm, [by_length(run) for run in ones]) for arm, ones in runs.items()]
        label = "wrong cells percent, by length"
        curves.append(Curves("By length", "", "elements", label, lengths, log_x=True))
        print("\nwrong cells, per cent, of 64 further sequences, by length:\n")
        print(*map(said, lengths), sep="\n")
    if options.plot:
        plot(curves, options.plot)
    if options.task not in SEQUENCES and LOOPED in runs:
        tell_grades(runs[LOOPED], options.tolerance)


if __name__ == "__main__":
    main()

"""`loopverse compare`: studies of what loops are worth, with their controls; or runs that there are already."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from loopverse.cli.arguments import Parser
from loopverse.errors import UserError

if TYPE_CHECKING:
    from loopverse.compare.report import Comparison

SETTINGS = (
    "study=NAME, settings of the study (seeds=[0,1,2]), and Hydra's own (hydra/launcher=joblib)"
)


def command(arguments: list[str]) -> int:
    """Run a study or compare runs, and end with the verdict and the report; or watch one that is running."""
    options = _parser().parse_with_settings(arguments)
    if options.watch is not None:
        return _watch(options.watch, options.every)
    given = [*options.runs, *options.settings]
    words = [word for word in given if "=" in word and not Path(word).exists()]
    runs = [word for word in given if word not in words]
    names = [word.removeprefix("study=") for word in words if word.startswith("study=")]
    if bool(names) == bool(runs) or len(names) > 1:
        raise UserError(
            "expected one study, such as study=quick, or runs to compare, such as runs/A runs/B, got "
            f"{' '.join(given) or 'neither'}"
        )
    if runs:
        if words:
            raise UserError(f"runs are compared as they are: leave out {' '.join(words)}")
        return _compare_runs(runs, options.folder)
    return _study(
        names[0], [word for word in words if not word.startswith("study=")], options.folder
    )


def _study(name: str, words: list[str], folder: Path | None) -> int:
    from loopverse.compare.conduct import conduct  # below the parser: these import torch
    from loopverse.compare.findings import findings
    from loopverse.compare.report import Comparison
    from loopverse.compare.study import as_yaml, read_study
    from loopverse.compare.telling import methods

    launcher = [word for word in words if word.startswith("hydra")]
    changes = [word for word in words if word not in launcher]
    study = read_study(name, changes)
    place = [] if folder is None else ["--folder", str(folder)]
    line = " ".join(["loopverse compare", *map(quote, [f"study={name}", *words, *place])])
    folder = folder or Path("studies") / Path(name).stem
    console = Console(highlight=False)
    began = time.monotonic()
    try:
        results = conduct(
            study,
            folder.resolve(),
            launcher,
            told=lambda what: console.print(f"[dim]{escape(what)}[/]"),
        )
    except KeyboardInterrupt:
        console.print(
            f"stopped; what is finished is kept, and the same line goes on:\n  {escape(line)}",
            soft_wrap=True,
        )
        raise
    found = findings(results.rows, results.curves)
    seeds = f"{len(study.seeds)} seed{'' if len(study.seeds) == 1 else 's'}"
    comparison = Comparison(
        title=f"What loops are worth: {Path(name).stem}",
        found=found,
        methods=methods(study, list(results.rates.values())),
        command=line,
        facts=[
            f"{len(found)} group{'' if len(found) == 1 else 's'}",
            seeds,
            f"{len(results.rows)} runs",
            f"budget: {study.budget}",
        ],
        settings=as_yaml(study),
    )
    _show(console, comparison, folder)
    console.print(f"[dim]{time.monotonic() - began:.0f} s[/]")
    return 0 if all(row.counts for row in results.rows) else 1


def _compare_runs(runs: list[str], folder: Path | None) -> int:
    from loopverse.compare.comparing import rows_of_runs
    from loopverse.compare.findings import findings
    from loopverse.compare.report import Comparison
    from loopverse.compare.table import write_table

    rows, curves = rows_of_runs(runs)
    folder = folder or Path("studies") / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    write_table(rows, folder)
    comparison = Comparison(
        title="What loops are worth: runs",
        found=findings(rows, curves),
        methods=["Finished runs as they are: whether they had the same budget is not checked."],
        command=" ".join(["loopverse compare", *map(quote, runs)]),
        facts=[f"{len(rows)} runs"],
    )
    _show(Console(highlight=False), comparison, folder)
    return 0


def _show(console: Console, comparison: Comparison, folder: Path) -> None:
    from loopverse.cli.exhibits import show_exhibits
    from loopverse.compare.report import write
    from loopverse.compare.telling import across, in_words

    console.print()
    for found in comparison.found:
        console.print(f"[bold]{escape(found.group)}[/]")
        for sentence in in_words(found):
            console.print(f"  {escape(sentence)}", soft_wrap=True)
        console.print()
    show_exhibits(console, [across(comparison.found)])
    console.print(f"[bold]report[/]  {write(comparison, folder)}", soft_wrap=True)


def _watch(folder: Path, every: float) -> int:
    from rich.live import Live

    from loopverse.compare.watching import progress_table

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            table, over = progress_table(folder)
            live.update(table, refresh=True)
            if over:
                return 0
            time.sleep(every)


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {word!r}")
    return seconds


def _parser() -> Parser:
    parser = Parser(
        "compare",
        "Find out whether looping is worth it. A study trains a grid of models with the same code and one setting "
        "changed: looped, without loops (equal parameters), and with a layer for every loop (equal FLOPs), with "
        "learning rates tried for each; it ends with a verdict and a report, and continues where it was stopped. "
        "Studies: quick (minutes), standard (a night), full, or a YAML file of your own. Runs that are "
        "finished are compared as they are.",
        {
            "loopverse compare study=quick": "every installed domain, in minutes",
            "loopverse compare study=quick domains=[autoregressive] seeds=[0,1,2]": "one domain, three seeds",
            "loopverse compare study=mine.yaml --folder studies/mine": "a study of your own",
            "loopverse compare study=standard hydra/launcher=joblib hydra.launcher.n_jobs=2": "two runs at a "
            "time, with hydra-joblib-launcher installed",
            "loopverse compare --watch studies/quick": "how far a study has come, in another terminal",
            "loopverse compare runs/A runs/B runs/C": "runs that there are already",
        },
        settings=SETTINGS,
    )
    parser.add_argument("runs", metavar="RUN", nargs="*", help="finished runs, instead of a study")
    parser.add_argument(
        "--folder", metavar="DIR", type=Path, help="where it is kept (studies/NAME)"
    )
    parser.add_argument("--watch", metavar="DIR", type=Path, help="show how far a study has come")
    parser.add_argument(
        "--every", metavar="SECONDS", type=_seconds, default=2.0, help="between looks (2)"
    )
    return parser

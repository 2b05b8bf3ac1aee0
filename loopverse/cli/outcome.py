"""What is shown when training is over: what it came to, and what to type next."""

from __future__ import annotations

import os
import sys
from shlex import quote

from rich.console import Console

from loopverse.analysis.depths import DepthTable
from loopverse.analysis.evaluate import FILE as EVALUATION
from loopverse.analysis.evaluate import evaluate_run
from loopverse.analysis.exhibits import Exhibition
from loopverse.analysis.facts import suggested
from loopverse.analysis.report import FILE as REPORT
from loopverse.analysis.report import write_report
from loopverse.cli.allocation import show_allocation
from loopverse.cli.depths import show_depths, written
from loopverse.cli.exhibits import show_exhibits
from loopverse.cli.overview import show_examples
from loopverse.cli.stream import show
from loopverse.domain import Sample
from loopverse.registry import load_domain
from loopverse.training import Run, RunFolder, Stopped


def stopped(stop: Stopped) -> int:
    """Say where a run was stopped and how to go on; returns the exit status."""
    if _speaks():
        print(f"stopped and saved at step {stop.step} of {stop.steps}; to go on:")
        print(f"  loopverse train run={quote(str(stop.folder))}")
    return stop.status


def complete(folder: RunFolder) -> bool:
    """Whether all steps of a run are done and all that follows them was written."""
    summary = folder.summary
    if summary is None or summary["step"] < folder.config.training.steps:
        return False
    return all((folder.path / name).exists() for name in (EVALUATION, REPORT))


def finished(run: Run) -> None:
    """Measure the run at several depths, show what there is to show, write its report, say what is next."""
    if not _speaks():
        return
    console = Console(highlight=False)
    path = quote(str(run.folder.path))
    table = _measure(console, run)
    show_exhibits(console, Exhibition.load(run.folder.path).exhibits, run.folder.path)
    if run.folder.config.halting.adaptive:
        show_allocation(console, run.folder.path, brief=True)
    _show_sample(console, table)
    console.print(f"[bold]report[/]  {write_report(run.folder)}\n", soft_wrap=True)
    ways = [
        *suggested(load_domain(run.folder.config.choices["domain"]), run.folder.path),
        ("measure it at depths of your choice", f"loopverse evaluate {path} --loops 1,2,4,8,16"),
        ("go on, should it ever be stopped", f"loopverse train run={path}"),
    ]
    show_examples(console, {line: purpose for purpose, line in ways}, "next")


def finished_in_sweep(run: Run) -> None:
    """Measure the run at several depths and write its report."""
    if _speaks():
        _measure(Console(highlight=False), run)
        write_report(run.folder)


def sweep_finished(runs: list[Run]) -> None:
    """Hold the runs of a sweep against each other."""
    if not _speaks() or not runs:
        return
    console = Console(highlight=False)
    tables = {run.folder.path: DepthTable.load(run.folder.path / EVALUATION) for run in runs}
    metric = next(iter(tables.values())).metric
    console.print(f"[bold]{metric}[/] of the sweep, held-out data, lower is better")
    for path, table in tables.items():
        console.print(f"  {written(table.value(table.reference))}   {path}", soft_wrap=True)
    console.print()


def _measure(console: Console, run: Run) -> DepthTable:
    table = evaluate_run(run.folder)
    console.print()
    show_depths(console, table)
    return table


def _show_sample(console: Console, table: DepthTable) -> None:
    """A few lines from nothing, and of an example, where the domain has something to show."""
    texts = {"sample": table.reference.sample, "example": table.reference.example}
    for name, text in texts.items():
        if text:
            how = "from nothing" if name == "sample" else "of a prompt"
            console.print(f"[bold]{name}[/], {how}, as deep as in training")
            show([""], iter([Sample(0, text)]), sys.stdout)
            console.print()


def _speaks() -> bool:
    """Whether this process is the one, of those that `accelerate launch` started, that prints."""
    return os.environ.get("RANK", "0") == "0"

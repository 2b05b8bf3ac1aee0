"""How far a study has come: a live table, read from its folder by whoever wants to know."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from loopverse.compare.jobs import RUNS
from loopverse.errors import UserError
from loopverse.training import RunFolder

SHOWN = 12
"""Runs that are listed: those under way and the last ones that ended."""


def progress_table(folder: Path) -> tuple[Table, bool]:
    """A table of the runs of a study, and whether none of them is under way.

    Raises:
        ValueError: a folder that holds no study.
    """
    if not (folder / "study.yaml").exists():
        raise UserError(f"{folder} holds no study: name the folder of one, such as studies/quick")
    runs = [path for path in (folder / RUNS).glob("*") if (path / "run.json").exists()]
    runs.sort(key=lambda path: (path / "run.json").stat().st_mtime)
    failed = len(list((folder / RUNS).glob("*.failed.json")))
    done = sum((path / "summary.json").exists() for path in runs)
    table = Table(box=None, pad_edge=False, title_justify="left")
    table.title = f"{folder}: {done} runs finished, {len(runs) - done} begun, {failed} failed"
    for name in ("domain", "loops", "seed", "step", "metric"):
        table.add_column(name, justify="left" if name == "domain" else "right")
    for path in runs[-SHOWN:]:
        table.add_row(*_cells(RunFolder.open(path)))
    return table, bool(runs) and done == len(runs) and _newer(folder / "report.html", runs[-1])


def _newer(report: Path, run: Path) -> bool:
    """Whether a report was written after a run had begun."""
    return report.exists() and report.stat().st_mtime >= (run / "run.json").stat().st_mtime


def _cells(run: RunFolder) -> list[str]:
    config = run.config
    rows = run.rows.read()
    step = rows[-1]["step"] if rows else 0
    metric = next((row for row in reversed(rows) if row["split"] == "valid"), {})
    names = [name for name in metric if name not in ("step", "split", "loops", "seconds")]
    told = f"{names[0]} {metric[names[0]]:.4g}" if names else ""
    loops = f"{config.schedule.typical()}{'' if config.core.tied else ' untied'}"
    done = f"{step}/{config.training.steps}"
    return [config.choices["domain"], loops, str(config.seed), done, told]

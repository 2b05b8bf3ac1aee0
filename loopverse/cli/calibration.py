"""A table of what halting rules give and cost, for terminals."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from loopverse.analysis.calibration import Calibration, WayRow
from loopverse.analysis.numbers import plain


def show_calibration(console: Console, calibration: Calibration, run: str) -> None:
    """Print a row per fixed depth and per rule, what was chosen, and why others save nothing."""
    console.print(
        f"[bold]{calibration.metric} under halting rules[/], held-out data, lower is better"
    )
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    titles = ("", calibration.metric, "change", "loops", "from oracle", "time", "saved")
    for title in titles:
        grid.add_column(title, justify="right" if title else "left", no_wrap=True)
    for row in calibration.fixed:
        grid.add_row(*_cells(row), style="dim" if row is not calibration.fixed[-1] else "")
    for row in calibration.rules:
        grid.add_row(*_cells(row), style="bold" if row is calibration.best else "")
    console.print(Padding(grid, (0, 0, 0, 2)))
    for line in explanations(calibration, run):
        console.print(f"  {escape(line)}", soft_wrap=True)
    console.print()


def explanations(calibration: Calibration, run: str) -> list[str]:
    """What the columns mean, what was chosen, and why rules save nothing, a sentence each."""
    lines = [
        f"Thresholds were found on {calibration.found_on} batches for {calibration.max_increase:.2g} of "
        f"the metric at most, and measured on {calibration.batches} others.",
        f"oracle: each unit stops once its loss is as low as it gets, {calibration.oracle:.2f} loops on "
        "average; from oracle: mean distance from that, in loops.",
        "time: of a forward pass, relative to all loops; saved: of the time in loops.",
    ]
    best = calibration.best
    if best is None:
        lines.append("No rule saves anything within the bound.")
    else:
        lines.append(f"chosen: {best.name}; `loopverse sample {run} halting=calibrated` uses it")
        lines += [
            f"{row.name}: {' '.join(row.words)}"
            for row in calibration.rules
            if row.words and not row.note
        ]
    lines += [f"{row.name} saves nothing: {row.note}." for row in calibration.rules if row.note]
    return lines


def _cells(row: WayRow) -> tuple[str, ...]:
    worse = row.worse
    margin = "" if worse.margin is None else f" ± {worse.margin * 100:.2f}"
    return (
        row.name,
        plain(row.metric, 4),
        f"{worse.value * 100:+.2f}{margin} %",
        f"{row.loops:.2f}",
        f"{row.distance:.2f}",
        f"{row.seconds:.2f}",
        f"{row.saved:.0%}",
    )

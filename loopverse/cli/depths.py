"""A table of what each depth gives and costs, for terminals."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from loopverse.analysis.depths import Depth, DepthTable
from loopverse.analysis.statistics import Estimate


def show_depths(console: Console, table: DepthTable) -> None:
    """Print a row per depth: the headline metric, what the added loops bought, what they cost."""
    console.print(f"[bold]{table.metric} by depth[/], held-out data, lower is better")
    grid = Table(box=None, padding=(0, 3, 0, 0))
    for title in ("loops", table.metric, "gained", "MFLOP a unit", "us a unit"):
        grid.add_column(title, justify="right")
    for depth in table.depths:
        grid.add_row(*_row(table, depth), style="bold" if depth is table.reference else "")
    console.print(Padding(grid, (0, 0, 0, 2)))
    console.print(
        f"  Trained with {table.trained}, at step {table.step}. After ±: half of the 95 % interval "
        f"over {len(table.weights)} batches.\n"
    )


def _row(table: DepthTable, depth: Depth) -> tuple[str, ...]:
    gain = table.gain(depth)
    return (
        str(depth.loops),
        written(table.value(depth)),
        "" if gain is None else written(gain, "+"),
        f"{depth.flops_per_unit / 1e6:.3g}",
        f"{depth.seconds_per_unit * 1e6:.3g}",
    )


def written(value: Estimate, sign: str = "") -> str:
    """A value with its margin, as text; `sign` "+" shows the sign of what is above zero too."""
    margin = "" if value.margin is None else f" ± {value.margin:.4f}"
    return f"{value.value:{sign}.4f}{margin}"

"""Exhibits of a run, for terminals: tables, maps and texts whole, curves and pictures in short."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from loopverse.analysis.exhibits import EXHIBITS, picture_names
from loopverse.analysis.numbers import label, plain, shown
from loopverse.analysis.shading import legend, shades
from loopverse.cli.shaded import mark, show_shaded
from loopverse.exhibit import (
    Curves,
    Estimate,
    Exhibit,
    HeatMap,
    Picture,
    ShadedText,
    TableExhibit,
)


def show_exhibits(
    console: Console,
    exhibits: Sequence[Exhibit],
    run: Path | str | None = None,
    folder: str = EXHIBITS,
) -> None:
    """Print exhibits, one below the other.

    Args:
        console: where to.
        exhibits: what to show.
        run: the run folder that keeps their pictures; None: they are in no file.
        folder: of the pictures, in the run folder.
    """
    names = picture_names(exhibits)
    for place, exhibit in enumerate(exhibits):
        console.print(f"[bold]{escape(exhibit.title)}[/]", soft_wrap=True)
        if isinstance(exhibit, TableExhibit):
            _table(console, exhibit)
        elif isinstance(exhibit, HeatMap):
            _heat_map(console, exhibit)
        elif isinstance(exhibit, Curves):
            _curves(console, exhibit)
        elif isinstance(exhibit, ShadedText):
            show_shaded(console, exhibit)
        elif isinstance(exhibit, Picture):
            where = f": {Path(run, folder, names[place])}" if run is not None else ""
            console.print(f"  {escape(exhibit.alt + where)}", soft_wrap=True)
        if exhibit.note:
            console.print(Padding(f"[dim]{escape(exhibit.note)}[/]", (0, 0, 0, 2)))
        console.print()


def _table(console: Console, exhibit: TableExhibit) -> None:
    """All of it; without the intervals where the console is too narrow for them."""
    best = exhibit.emphasised
    grid = _grid(exhibit, best, intervals=True)
    narrow = console.measure(grid).maximum + 2 > console.width
    if narrow:
        grid = _grid(exhibit, best, intervals=False)
    console.print(Padding(grid, (0, 0, 0, 2)))
    if best:
        which = "lowest" if exhibit.lower_is_better else "highest"
        console.print(f"  * the {which} of its {exhibit.best}", soft_wrap=True)
    if narrow and any(isinstance(cell, Estimate) for row in exhibit.rows for cell in row):
        told = "  The intervals are in the report: this console is too narrow for them."
        console.print(told, soft_wrap=True)


def _grid(exhibit: TableExhibit, best: set[tuple[int, int]], intervals: bool) -> Table:
    """The table; the best numbers are bold, and starred for those who see no bold."""
    grid = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False)
    for place, name in enumerate(exhibit.columns):
        text = all(isinstance(row[place], str) for row in exhibit.rows)
        grid.add_column(escape(name), justify="left" if text or not place else "right")
    for r, row in enumerate(exhibit.rows):
        cells = []
        for c, cell in enumerate(row):
            hidden = isinstance(cell, Estimate) and not intervals
            text = escape(shown(cell).partition(" ± ")[0] if hidden else shown(cell))
            cells.append(f"[bold]*{text}[/]" if (r, c) in best else text)
        grid.add_row(*cells)
    return grid


def _heat_map(console: Console, exhibit: HeatMap) -> None:
    """Every number beside its shade; shades alone where the console is too narrow for both."""
    numbers = [[plain(value, 3) for value in row] for row in exhibit.values]
    heads, sides = [label(x) for x in exhibit.x], [label(y) for y in exhibit.y]
    side = max(map(len, [exhibit.y_label, *sides]))
    wide = max(map(len, [*heads, *(text for row in numbers for text in row)])) + 5
    room = console.width - side - 4
    if len(heads) > room:
        console.print("  too wide for this console; the report shows it", soft_wrap=True)
        return
    told = len(heads) * wide <= room
    rows = zip(sides, shades(exhibit), numbers, strict=True)
    about = f"{exhibit.x_label} (across), {exhibit.y_label} (down)"
    about = f"{exhibit.unit} over {about}" if exhibit.unit else about
    console.print(f"  {escape(about)}", soft_wrap=True)
    if told:
        head = "".join(f"{text:>{wide - 3}}   " for text in heads)
        console.print(f"  {'':{side}}  {escape(head)}", soft_wrap=True)
    for name, row, texts in rows:
        line = "".join(
            f"{text:>{wide - 3}} [cyan]{mark(shade) * 2}[/]" if told else f"[cyan]{mark(shade)}[/]"
            for shade, text in zip(row, texts, strict=True)
        )
        console.print(f"  {escape(f'{name:>{side}}')}  {line}", soft_wrap=True)
    console.print(f"  {legend(exhibit)}", soft_wrap=True)


def _curves(console: Console, exhibit: Curves) -> None:
    """Where every line begins and ends."""
    about = f"{exhibit.y_label} over {exhibit.x_label}; the report draws it"
    console.print(f"  {escape(about)}", soft_wrap=True)
    grid = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, show_header=False)
    for series in exhibit.series:
        first, last = (f"{plain(series.y[end])} at {label(series.x[end])}" for end in (0, -1))
        grid.add_row(escape(series.name), first, f"… {last}" if len(series.x) > 1 else "")
    console.print(Padding(grid, (0, 0, 0, 2)))

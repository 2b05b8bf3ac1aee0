"""Where the loops went, for terminals."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from loopverse.analysis.allocation import ALLOCATION
from loopverse.analysis.exhibits import Exhibition
from loopverse.cli.exhibits import show_exhibits
from loopverse.exhibit import TableExhibit


def show_allocation(console: Console, run: Path | str, brief: bool = False) -> None:
    """Print what the run folder keeps of where the loops went.

    Args:
        console: where to.
        run: the run folder.
        brief: its tables only.
    """
    exhibits = Exhibition.load(Path(run), ALLOCATION).exhibits
    if brief:
        exhibits = [exhibit for exhibit in exhibits if isinstance(exhibit, TableExhibit)]
    show_exhibits(console, exhibits, run, ALLOCATION)

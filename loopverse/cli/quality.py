"""A table of what loops and steps of sampling give and cost, for terminals."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from loopverse.analysis.numbers import plain
from loopverse.analysis.quality import Quality, QualityTable
from loopverse.analysis.statistics import Estimate


def show_quality(console: Console, table: QualityTable) -> None:
    """Print a row per number of loops and steps: cost, likelihood under the judge, variety."""
    console.print("[bold]quality against block evaluations[/], per text made from nothing")
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)  # fits into 80 columns
    judged = ("nats/token", "bits/byte") if table.judge else ()
    for title in ("loops", "steps", "blocks", "s", *judged, "entropy", "distinct-1-2-3"):
        grid.add_column(title, justify="right", no_wrap=True)
    for row in table.rows:
        grid.add_row(*_cells(row, bool(table.judge)))
    console.print(Padding(grid, (0, 0, 0, 2)))
    for line in explanations(table):
        console.print(f"  {escape(line)}", soft_wrap=True)
    console.print()


def explanations(table: QualityTable) -> list[str]:
    """What the columns mean, a sentence each."""
    lines = [
        "blocks: layers evaluated, one row through one layer being one; s: seconds.",
        "entropy: of the bytes of a text, in bits; distinct-n: different runs of n words over all of "
        "them. A low likelihood cost with a low variety is dull text, not good text.",
        f"After ±: half of the 95 % interval over {table.samples} texts.",
    ]
    if table.judge:
        lines.insert(
            0,
            f"Judged by {table.judge} at its step {table.judge_step}, lower is better; generative "
            "perplexity is the exponential of nats/token.",
        )
    if table.words:
        lines.append(f"Sampled with {' '.join(table.words)}.")
    return lines


def _cells(row: Quality, judged: bool) -> tuple[str, ...]:
    likelihood = (plain(row.nats_per_token.value, 3), _value(row.bits_per_byte)) if judged else ()
    return (
        str(row.loops),
        str(row.steps or "–"),
        f"{row.blocks:.0f}",
        f"{row.seconds:.2g}",
        *likelihood,
        plain(row.entropy.value, 3),
        " ".join(plain(value, 2) for value in row.distinct),
    )


def _value(value: Estimate) -> str:
    margin = "" if value.margin is None else f" ± {plain(value.margin, 2)}"
    return f"{plain(value.value, 3)}{margin}"

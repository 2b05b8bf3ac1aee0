"""Figures of a run: how training went, what depth is worth, and what compute buys in sampling.

matplotlib is imported when a figure is drawn, and its global state (pyplot) is never touched.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopverse.analysis.curves import Curve, column, smoothed, thinned
from loopverse.analysis.depths import DepthTable
from loopverse.analysis.exhibit_panels import curves
from loopverse.analysis.numbers import loops_in_words, words
from loopverse.analysis.quality import Quality, QualityTable
from loopverse.analysis.theme import LIGHT, standalone_svg, style
from loopverse.errors import UserError
from loopverse.exhibit import Curves, Estimate, Series
from loopverse.registry import load_domain
from loopverse.training import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[dict[str, Any]]
Panel = Callable[["Axes"], None]

SIZE = (4.5, 2.8)
"""Inches of a panel."""
FORMATS = (".png", ".svg")


def drawn(*panels: Panel, size: tuple[float, float] = SIZE) -> Figure:
    """A figure of panels side by side."""
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(size[0] * len(panels), size[1]), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for panel, place in zip(panels, axes, strict=True):
            panel(place)
        return figure


def training_loss(rows: Rows) -> Panel:
    """The loss of every step, faint, and its running mean."""
    raw = column(rows, "loss")
    running = smoothed(raw)

    def draw(axes: Axes) -> None:
        axes.plot(*_points(thinned(raw)), color=LIGHT["faint"], linewidth=0.9)
        axes.plot(*_points(thinned(running)), color=LIGHT["accent"])
        settled = running.values[len(running) // 20 :]
        low, high = min(settled), max(settled)
        room = 0.08 * (high - low) or 0.1
        axes.set_ylim(low - room, high + room)
        axes.set(title="training loss", xlabel="step")
        _note_last(axes, running, LIGHT["accent"])

    return draw


def held_out(rows: Rows, metric: str) -> Panel:
    """The headline metric at every evaluation."""
    curve = column(rows, metric)

    def draw(axes: Axes) -> None:
        axes.plot(*_points(curve), color=LIGHT["second"], marker="o", markersize=4)
        axes.set(title=f"held-out {words(metric)}", xlabel="step")
        axes.set_xlim(left=0)
        axes.margins(y=0.15)
        _note_last(axes, curve, LIGHT["second"])

    return draw


def by_depth(table: DepthTable) -> Panel:
    """The headline metric over loops; bars are intervals of the difference to the trained depth."""
    used = table.reference
    shown = [depth for depth in table.depths if math.isfinite(depth.metrics[table.metric])]
    values = [depth.metrics[table.metric] for depth in shown]
    gains = [table.gain(depth, used) for depth in shown]
    margins = [gain.margin or 0.0 if gain is not None else 0.0 for gain in gains]

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

        loops = [depth.loops for depth in table.depths]
        axes.axvline(used.loops, color=LIGHT["faint"], linewidth=9, alpha=0.4)
        axes.errorbar(
            [depth.loops for depth in shown],
            values,
            margins,
            color=LIGHT["accent"],
            marker="o",
            markersize=4.5,
            elinewidth=1.4,
            capsize=3,
        )
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(loops))
        axes.xaxis.set_major_formatter(FixedFormatter([str(number) for number in loops]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.08, y=0.15)
        axes.set(title=words(table.metric), xlabel="loops")

    return draw


def by_blocks(table: QualityTable, title: str, value: Callable[[Quality], Estimate]) -> Panel:
    """Something of the texts against block evaluations: a line per number of loops, over its steps."""
    series = []
    for loops, rows in table.by_loops.items():
        points = sorted(((row.blocks, value(row)) for row in rows), key=lambda point: point[0])
        series.append(
            Series(
                loops_in_words(loops),
                [blocks for blocks, _ in points],
                [point.value for _, point in points],
                [point.margin for _, point in points],
            )
        )
    return curves(Curves(title, "", "block evaluations per text", title, series, log_x=True))


def histogram(depths: Sequence[float]) -> Panel:
    """How often each number of loops was drawn in training."""
    counts = Counter(round(depth) for depth in depths)

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        axes.bar(list(counts), list(counts.values()), width=0.8, color=LIGHT["accent"])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.set(title="times drawn", xlabel="loops")

    return draw


def line(rows: Rows, name: str, title: str) -> Panel:
    """Any other figure of the training rows."""
    curve = thinned(column(rows, name))

    def draw(axes: Axes) -> None:
        axes.plot(*_points(curve), color=LIGHT["accent"], linewidth=1.2)
        axes.set(title=title, xlabel="step")

    return draw


def training_curve(run: RunFolder | Path | str, path: Path | str) -> Path:
    """Draw how a run's training went into a file, for a README or a page of documentation.

    Args:
        run: the run folder.
        path: ends in .svg (follows light and dark) or .png (light).

    Raises:
        ValueError: no run, a run without a logged step, or another ending.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    path = Path(path)
    if path.suffix not in FORMATS:
        raise UserError(f"a figure is written as {' or '.join(FORMATS)}, got {path.name}")
    rows = folder.rows.read("train")
    if not rows:
        raise UserError(f"{folder.path} has no logged step to draw yet: train it first")
    metric = load_domain(folder.config.choices["domain"]).metric
    figure = drawn(training_loss(rows), held_out(folder.rows.read("valid"), metric))
    if path.suffix == ".png":
        with style():
            figure.savefig(path, dpi=180, facecolor=LIGHT["paper"])
    else:
        path.write_text(standalone_svg(figure, "Training curve"), encoding="utf-8")
    return path


def _points(curve: Curve) -> tuple[list[float], list[float]]:
    return curve.steps, curve.values


def _note_last(axes: Axes, curve: Curve, colour: str) -> None:
    if len(curve):
        last = curve.values[-1]
        axes.annotate(
            f"{last:.3g}",
            (curve.steps[-1], last),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontweight="bold",
        )

"""Figures of what domains show, and of everything else that is lines over an axis or a map."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loopverse.analysis.numbers import count, label, plain
from loopverse.analysis.shading import bounds, shades
from loopverse.analysis.theme import LIGHT
from loopverse.exhibit import Curves, HeatMap

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

LINES = (("accent", "o"), ("second", "s"), ("ink", "^"), ("soft", "D"))
"""Colour and marker of each line, where several share a panel; from the fifth on again, dashed."""
DOTS = 24
"""Points of a line from which on they are no longer marked one by one."""
FAINTEST, STRONGEST = 0.06, 0.5
"""Opacity of the worst and the best cell of a map; text on it stays legible in both themes."""
ROOM = 12
"""Columns of a map up to which there is room for the numbers in its cells."""


def curves(exhibit: Curves) -> Callable[[Axes], None]:
    """Lines with the intervals of their points."""

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        for place, series in enumerate(exhibit.series):
            colour, marker = LINES[place % len(LINES)]
            axes.errorbar(
                series.x,
                series.y,
                None if series.margins is None else [margin or 0.0 for margin in series.margins],
                label=series.name.replace("$", r"\$"),
                color=LIGHT[colour],
                marker=marker if len(series.x) <= DOTS else "",
                linestyle="--" if place // len(LINES) % 2 else "-",
                markersize=4.5,
                elinewidth=1.2,
                capsize=3,
            )
        if exhibit.log_x:
            axes.set_xscale("log")
            _decimal(axes.xaxis)
        elif all(float(x).is_integer() for series in exhibit.series for x in series.x):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if exhibit.log_y:
            axes.set_yscale("log")
            _decimal(axes.yaxis)
        axes.margins(x=0.08, y=0.15)
        axes.set_title(exhibit.y_label, parse_math=False)
        axes.set_xlabel(exhibit.x_label, parse_math=False)
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.24),  # below: lines leave no corner free
            ncols=3 if max(len(series.name) for series in exhibit.series) <= 14 else 1,
            frameon=False,
            fontsize="small",
        )

    return draw


def heat_map(exhibit: HeatMap) -> Callable[[Axes], None]:
    """Cells shaded by how good they are, with their numbers where there is room."""

    def draw(axes: Axes) -> None:
        from matplotlib.patches import Rectangle

        columns, rows = len(exhibit.x), len(exhibit.y)
        for y, line in enumerate(shades(exhibit)):
            for x, shade in enumerate(line):
                alpha = opacity(shade)
                if alpha is not None:
                    square = Rectangle((x, y), 1, 1, color=LIGHT["accent"], alpha=alpha, lw=0)
                    axes.add_patch(square)
        if columns <= ROOM:
            for y, line in enumerate(exhibit.values):
                for x, value in enumerate(line):
                    axes.text(x + 0.5, y + 0.5, plain(value, 3), ha="center", va="center")
        axes.set(xlim=(0, columns), ylim=(rows, 0))
        every = math.ceil(columns / 2 / ROOM)
        axes.set_xticks(
            [x + 0.5 for x in range(0, columns, every)],
            [label(x) for x in exhibit.x[::every]],
            parse_math=False,
        )
        axes.set_yticks(
            [y + 0.5 for y in range(rows)], [label(y) for y in exhibit.y], parse_math=False
        )
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.set_xlabel(exhibit.x_label, parse_math=False)
        axes.set_ylabel(exhibit.y_label, parse_math=False)
        if exhibit.unit:
            axes.set_title(exhibit.unit, parse_math=False)

    return draw


def opacity(shade: float | None) -> float | None:
    """How strongly the accent covers the page for a shade; None where there is none."""
    return None if shade is None else round(FAINTEST + (STRONGEST - FAINTEST) * shade, 3)


def size(exhibit: Curves | HeatMap) -> tuple[float, float]:
    """Inches of its panel."""
    if isinstance(exhibit, Curves):
        entries = len(exhibit.series)
        return 4.5, 2.8 + (0.2 * entries if max(len(s.name) for s in exhibit.series) > 14 else 0)
    cell = 0.62 if len(exhibit.x) <= ROOM else 0.3
    return (
        min(9.0, max(4.5, 1.2 + cell * len(exhibit.x))),
        min(7.0, 1.1 + 0.34 * len(exhibit.y)),
    )


def in_words(exhibit: Curves | HeatMap) -> str:
    """What a person sees in its figure."""
    if isinstance(exhibit, HeatMap):
        low, high = bounds(exhibit)
        return (
            f"{exhibit.title}: {len(exhibit.y)} by {len(exhibit.x)} cells over {exhibit.x_label} and "
            f"{exhibit.y_label}, from {plain(low)} to {plain(high)} {exhibit.unit}".rstrip()
        )
    lines = "; ".join(
        f"{series.name}: {plain(series.y[0])} at {label(series.x[0])}, {plain(series.y[-1])} at "
        f"{label(series.x[-1])}"
        for series in exhibit.series
    )
    return f"{exhibit.title}: {exhibit.y_label} over {exhibit.x_label}. {lines}"


def _decimal(axis: Axis) -> None:
    """Ticks of a logarithmic axis as people write numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda number, _: count(number)))
    axis.set_minor_formatter(NullFormatter())

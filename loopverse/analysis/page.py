"""What all pages are made of: the templates, and exhibits as they stand on a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from loopverse.analysis import exhibit_panels, numbers, plots
from loopverse.analysis.exhibit_panels import opacity
from loopverse.analysis.exhibits import KINDS
from loopverse.analysis.plots import drawn
from loopverse.analysis.shading import legend, readable, swatches, text_shades
from loopverse.analysis.theme import DARK, LIGHT, declarations, inline_svg
from loopverse.exhibit import (
    Curves,
    Estimate,
    Exhibit,
    HeatMap,
    Picture,
    ShadedText,
    TableExhibit,
)


def environment() -> Environment:
    """The templates, with the colours of both themes and our ways to write numbers."""
    made = Environment(
        loader=PackageLoader("loopverse.analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in (
        "count",
        "duration",
        "plain",
        "signed",
        "words",
        "loops_in_words",
        "visible",
        "code",
        "shown",
        "rounded",
    ):
        made.filters[name] = getattr(numbers, name)
    made.tests["estimate"] = lambda cell: isinstance(cell, Estimate)
    made.globals["light"] = Markup(declarations(LIGHT))
    made.globals["dark"] = Markup(declarations(DARK))
    return made


@dataclass
class Show:
    """An exhibit, ready for the page.

    Attributes:
        exhibit: what it is.
        kind: its name in `KINDS`.
        wide: whether it takes the whole width of the page.
        figure: its drawing, where it is one.
        source: its bytes as a data URI, where it is a picture.
        legend: what its shades mean, where it has some.
        pieces: its text, the number of each piece in words, and its opacity, where it is shaded text.
        swatches: numbers and their opacity.
    """

    exhibit: Exhibit
    kind: str
    wide: bool = False
    figure: Markup | None = None
    source: str = ""
    legend: str = ""
    pieces: list[tuple[str, str, float | None]] = field(default_factory=list)
    swatches: list[tuple[str, float | None]] = field(default_factory=list)


def shows(exhibits: Sequence[Exhibit], name: str) -> list[Show]:
    """Exhibits, ready for the page; the name sets their figures apart from others."""
    return [_show(exhibit, f"{name}-{n}") for n, exhibit in enumerate(exhibits)]


def _show(exhibit: Exhibit, name: str) -> Show:
    kind = next(name for name, known in KINDS.items() if type(exhibit) is known)
    show = Show(exhibit, kind)
    if isinstance(exhibit, TableExhibit):
        show.wide = len(exhibit.columns) > 4
    elif isinstance(exhibit, Picture):
        data = base64.b64encode(exhibit.data).decode()
        show.source = f"data:image/{exhibit.kind};base64,{data}"
    elif isinstance(exhibit, ShadedText):
        show.wide = True
        show.pieces = [
            (readable(piece), f"{numbers.label(value or 0)} {exhibit.unit}".strip(), opacity(shade))
            for piece, value, shade in zip(
                exhibit.pieces, exhibit.values, text_shades(exhibit), strict=True
            )
        ]
        show.swatches = [(number, opacity(shade)) for number, shade in swatches(exhibit)]
    elif isinstance(exhibit, Curves | HeatMap):
        if isinstance(exhibit, Curves):
            panel = exhibit_panels.curves(exhibit)
        else:
            panel, show.legend = exhibit_panels.heat_map(exhibit), legend(exhibit)
        size = exhibit_panels.size(exhibit)
        show.wide = size[0] > plots.SIZE[0]
        svg = inline_svg(drawn(panel, size=size), name, exhibit_panels.in_words(exhibit))
        show.figure = Markup(svg)
    return show

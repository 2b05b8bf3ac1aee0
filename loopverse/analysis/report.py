"""The report of a run: one page, in one file, that needs nothing else."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from loopverse.analysis import exhibit_panels, numbers, plots
from loopverse.analysis.efficiency import applied
from loopverse.analysis.exhibit_panels import opacity
from loopverse.analysis.exhibits import KINDS, Exhibition
from loopverse.analysis.facts import RunFacts, read_facts
from loopverse.analysis.overrides import as_yaml
from loopverse.analysis.plots import Panel, drawn
from loopverse.analysis.quality import QualityTable
from loopverse.analysis.shading import legend, readable, swatches, text_shades
from loopverse.analysis.theme import DARK, LIGHT, declarations, inline_svg
from loopverse.analysis.verdicts import verdicts
from loopverse.exhibit import (
    Curves,
    Estimate,
    Exhibit,
    HeatMap,
    Picture,
    ShadedText,
    TableExhibit,
)
from loopverse.training import RunFolder
from loopverse.training.files import write_text

FILE = "report.html"
"""What `write_report` writes, in the run folder."""


def write_report(run: RunFolder | Path | str) -> Path:
    """Write `report.html` into a run folder from what the folder holds, whole or not.

    Nothing is computed but counts: evaluate first for the loss by depth and samples.

    Returns:
        Where it is.

    Raises:
        ValueError: not a run folder, or settings that cannot be read.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    path = folder.path / FILE
    write_text(path, render(read_facts(folder)))
    return path


def render(facts: RunFacts) -> str:
    """The page, as HTML."""
    environment = Environment(
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
        environment.filters[name] = getattr(numbers, name)
    environment.tests["estimate"] = lambda cell: isinstance(cell, Estimate)
    return environment.get_template("report.html").render(
        facts=facts,
        table=facts.table,
        quality=facts.quality,
        parts=facts.parts,
        figures=_figures(facts),
        shows=_shows(facts.exhibition, "exhibit"),
        allocated=_shows(facts.allocation, "allocation"),
        verdicts=verdicts(facts.table) if facts.table else [],
        applied=applied,
        settings=as_yaml(facts.config),
        light=Markup(declarations(LIGHT)),
        dark=Markup(declarations(DARK)),
    )


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


def _shows(exhibition: Exhibition, name: str) -> list[Show]:
    return [_show(exhibit, f"{name}-{n}") for n, exhibit in enumerate(exhibition.exhibits)]


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


def _figures(facts: RunFacts) -> dict[str, Markup]:
    """The figures that there are data for, by name."""
    metric = numbers.words(facts.metric)
    panels: dict[str, tuple[Panel, str]] = {}
    if facts.train:
        first, last = facts.train[0]["loss"], facts.train[-1]["loss"]
        panels["loss"] = (
            plots.training_loss(facts.train),
            f"Training loss falls from {numbers.plain(first)} to {numbers.plain(last)} "
            f"in {facts.step} steps",
        )
        for name, title in (("rate", "learning rate"), ("grad_norm", "norm of the gradient")):
            panels[name] = (plots.line(facts.train, name, title), f"The {title} over the steps")
    if facts.best is not None:
        panels["valid"] = (
            plots.held_out(facts.valid, facts.metric),
            f"Held-out {metric}, at its lowest {numbers.plain(facts.best[facts.metric])} "
            f"at step {facts.best['step']}",
        )
    if facts.table is not None and len(facts.table.depths) > 1:
        panels["depths"] = (
            plots.by_depth(facts.table),
            f"Held-out {metric} for each number of loops; the figures are in the table beside it",
        )
    panels |= _quality_panels(facts.quality) if facts.quality is not None else {}
    depths = facts.drawn_depths
    if len(set(depths)) > 1:
        mean = sum(depths) / len(depths)
        panels["drawn"] = (
            plots.histogram(depths),
            f"Loops drawn in training: {min(depths)} to {max(depths)}, mean {mean:.1f}",
        )
    return {
        name: Markup(inline_svg(drawn(panel), name, description))
        for name, (panel, description) in panels.items()
    }


def _quality_panels(table: QualityTable) -> dict[str, tuple[Panel, str]]:
    """What the texts are worth, and how varied they are, against what they cost."""
    about = "against block evaluations, a line per number of loops; the figures are in the table"
    panels = {
        "entropy": (
            plots.by_blocks(table, "entropy of a text, bits per byte", lambda row: row.entropy),
            f"Entropy of the texts {about}",
        )
    }
    if table.judge:
        title = "bits per byte under the judge"
        panels["judged"] = (
            plots.by_blocks(table, title, lambda row: row.bits_per_byte),
            f"Code length of the texts under the judge {about}",
        )
    return panels

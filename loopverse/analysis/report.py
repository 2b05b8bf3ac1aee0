"""The report of a run: one page, in one file, that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from loopverse.analysis import numbers, plots
from loopverse.analysis.efficiency import applied
from loopverse.analysis.facts import RunFacts, read_facts
from loopverse.analysis.overrides import as_yaml
from loopverse.analysis.page import environment, shows
from loopverse.analysis.plots import Panel, drawn
from loopverse.analysis.quality import QualityTable
from loopverse.analysis.theme import inline_svg
from loopverse.analysis.verdicts import verdicts
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
    return (
        environment()
        .get_template("report.html")
        .render(
            facts=facts,
            table=facts.table,
            quality=facts.quality,
            parts=facts.parts,
            figures=_figures(facts),
            shows=shows(facts.exhibition.exhibits, "exhibit"),
            allocated=shows(facts.allocation.exhibits, "allocation"),
            diagnosed=shows(facts.diagnosis.exhibits, "diagnosis"),
            verdicts=verdicts(facts.table) if facts.table else [],
            applied=applied,
            settings=as_yaml(facts.config),
        )
    )


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

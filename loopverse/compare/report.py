"""What a comparison leaves behind: a page, a summary, and figures, beside its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loopverse import __version__
from loopverse.analysis import exhibit_panels
from loopverse.analysis.page import environment, shows
from loopverse.analysis.plots import drawn
from loopverse.analysis.theme import as_png, standalone_svg
from loopverse.compare.findings import Findings
from loopverse.compare.telling import across, exhibits, in_words, multipliers, summary
from loopverse.exhibit import Curves, Exhibit
from loopverse.training.files import write_bytes, write_text

REPORT, SUMMARY, FIGURES = "report.html", "summary.md", "figures"


@dataclass
class Comparison:
    """All that is told of a comparison.

    Attributes:
        title: of the page.
        found: group by group.
        methods: how it was made, a sentence each.
        command: what to type to make it again.
        facts: short ones, below the title.
        settings: of the study, as YAML; empty where runs were compared.
    """

    title: str
    found: Sequence[Findings]
    methods: Sequence[str]
    command: str
    facts: Sequence[str] = field(default_factory=list)
    settings: str = ""

    @property
    def overview(self) -> list[Exhibit]:
        """What stands for all groups together."""
        drawn = multipliers(self.found)
        return [across(self.found), *([drawn] if drawn else [])]


def render(comparison: Comparison) -> str:
    """The page, as HTML."""
    return (
        environment()
        .get_template("study.html")
        .render(
            title=comparison.title,
            facts=comparison.facts,
            verdicts=[(found.group, in_words(found)) for found in comparison.found],
            overview=shows(comparison.overview, "overview"),
            groups=[
                (found.group, shows(exhibits(found), f"group-{number}"))
                for number, found in enumerate(comparison.found)
                if found.arms
            ],
            methods=comparison.methods,
            settings=comparison.settings,
            command=comparison.command,
            version=__version__,
        )
    )


def write(comparison: Comparison, folder: Path) -> Path:
    """Write `report.html`, `summary.md` and the figures as SVG and PNG into a folder.

    Returns:
        Where the page is.
    """
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    said = summary(comparison.found, comparison.methods, comparison.command)
    write_text(folder / SUMMARY, said)
    curves = [one for one in comparison.overview if isinstance(one, Curves)]
    curves += [
        one for found in comparison.found for one in exhibits(found) if isinstance(one, Curves)
    ]
    for number, one in enumerate(curves):
        figure = drawn(exhibit_panels.curves(one), size=exhibit_panels.size(one))
        name = "".join(c if c.isalnum() else "-" for c in one.title.lower())[:60].strip("-")
        path = folder / FIGURES / f"{number:02d}-{name}.svg"
        write_text(path, standalone_svg(figure, exhibit_panels.in_words(one)))
        write_bytes(path.with_suffix(".png"), as_png(figure))
    write_text(folder / REPORT, render(comparison))
    return folder / REPORT

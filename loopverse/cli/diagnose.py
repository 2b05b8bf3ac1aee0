"""`loopverse diagnose`: what each loop of a run does, when to stop, and what looks unhealthy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from loopverse.cli.arguments import Parser

if TYPE_CHECKING:
    from loopverse.diagnosis import Finding


def command(arguments: list[str]) -> int:
    """Look at a run, print the verdict and the figures, and bring the report up to date."""
    options = _parser().parse_args(arguments)
    from loopverse.analysis.report import write_report  # below the parser: these import torch
    from loopverse.cli.exhibits import show_exhibits
    from loopverse.diagnosis import diagnose_run

    console = Console(highlight=False)
    with console.status("loading the run") as status:
        found = diagnose_run(
            options.run,
            samples=options.samples,
            checkpoint=options.checkpoint,
            told=status.update,
        )
    if options.figures:
        show_exhibits(console, found.exhibition.exhibits[1:])
    _show_findings(console, found.findings)
    console.print(f"[bold]report[/]  {write_report(options.run)}", soft_wrap=True)
    return 0


def _show_findings(console: Console, findings: Sequence[Finding]) -> None:
    """A line for each, what it rests on below it, and what to try."""
    for one in findings:
        colour, mark = {"advice": ("bold", "→"), "well": ("green", "·"), "unhealthy": ("red", "!")}[
            one.kind
        ]
        console.print(f"[{colour}]{mark} {escape(one.name)}[/]", soft_wrap=True)
        console.print(Padding(f"[dim]{escape(one.evidence)}[/]", (0, 0, 0, 2)))
        if one.remedy:
            console.print(Padding(escape(f"try: {one.remedy}"), (0, 0, 0, 2)))
    console.print()


def _parser() -> Parser:
    parser = Parser(
        "diagnose",
        "See what each loop of a run does, on held-out data: quality at every depth, what is lost again, "
        "how the state moves and where it would settle, what rules to stop early and cheaper gradients "
        "would give. Ends with a verdict: how many loops to run and to train with, which rule, and what "
        "looks unhealthy. Writes diagnosis.json and report.html in the run folder.",
        {
            "loopverse diagnose runs/NAME": "the verdict; all figures are in the report",
            "loopverse diagnose runs/NAME --figures": "the figures here too",
            "loopverse diagnose runs/NAME --samples 64": "sooner, with wider intervals",
        },
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument(
        "--samples", metavar="N", type=int, default=500, help="held-out rows to read (500)"
    )
    parser.add_argument(
        "--checkpoint", metavar="WHICH", default="best", help="best, last or a step (best)"
    )
    parser.add_argument("--figures", action="store_true", help="print every table and curve")
    return parser

"""`loopverse report`: the report of a run, written anew from what its folder holds."""

from __future__ import annotations

from loopverse.cli.arguments import Parser


def command(arguments: list[str]) -> int:
    """Write `report.html` and print where it is."""
    parser = Parser(
        "report",
        "Write report.html in a run folder from what the folder holds: settings, curves, and the "
        "last evaluation by depth. Computes nothing.",
        {"loopverse report runs/NAME": "and open it in a browser"},
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    options = parser.parse_args(arguments)
    from loopverse.analysis.report import write_report  # below the parser: it imports torch

    print(write_report(options.run))
    return 0

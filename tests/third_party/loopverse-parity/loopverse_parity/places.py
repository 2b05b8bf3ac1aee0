"""`loopverse places`: where in a row the answers go wrong, at depths of your choice."""

from rich.console import Console

from loopverse.cli import Parser, loops_list, show_exhibits


def command(arguments: list[str]) -> int:
    """Show where in a row the answers go wrong.

    Args:
        arguments: the words after the command's name.
    """
    parser = Parser(
        "places",
        "Show where in a row the answers of a run go wrong, by number of loops.",
        {"loopverse places runs/parity --loops 1,2,4": "depths of your choice"},
    )
    parser.add_argument("run", metavar="RUN", help="a run folder of the domain parity")
    parser.add_argument(
        "--loops", metavar="LIST", type=loops_list, default=[1, 2, 4], help="depths"
    )
    options = parser.parse_args(arguments)
    from loopverse import load  # below the parser: these import torch
    from loopverse.analysis import collect_exhibits
    from loopverse_parity import Parity

    run = load(options.run)
    if not isinstance(run.model.adapter, Parity):
        raise ValueError(f"places needs a run of parity, got {options.run}: train one first")
    shown = collect_exhibits(run.model, options.loops, trained=run.config.schedule.typical())
    show_exhibits(Console(highlight=False), shown.exhibits)
    return 0

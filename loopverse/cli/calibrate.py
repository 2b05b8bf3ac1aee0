"""`loopverse calibrate`: how soon a run may stop early for a stated loss of quality, and what it saves."""

from __future__ import annotations

import argparse

from rich.console import Console

from loopverse.cli.arguments import Parser, loops_number


def command(arguments: list[str]) -> int:
    """Find thresholds, measure, print the table and keep it in the run folder."""
    options = _parser().parse_args(arguments)
    from loopverse.analysis.calibrate import calibrate_run  # below the parser: these import torch
    from loopverse.analysis.report import write_report
    from loopverse.cli.allocation import show_allocation
    from loopverse.cli.calibration import show_calibration
    from loopverse.depth.halting.naming import built

    rules = None if options.rules is None else [built(name) for name in options.rules]
    console = Console(highlight=False)
    with console.status("reading held-out data") as status:
        calibration = calibrate_run(
            options.run,
            rules,
            loops=options.loops,
            max_increase=options.max_increase,
            checkpoint=options.checkpoint,
            batch_size=options.batch_size,
            max_batches=options.batches,
            told=status.update,
        )
    show_allocation(console, options.run)
    show_calibration(console, calibration, options.run)
    console.print(f"[bold]report[/]  {write_report(options.run)}", soft_wrap=True)
    return 0


def _share(word: str) -> float:
    try:
        return float(word[:-1]) / 100 if word.endswith("%") else float(word)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a share such as 0.5% or 0.005, got {word!r}"
        ) from None


def _names(word: str) -> list[str]:
    return [name.strip() for name in word.split(",") if name.strip()]


def _parser() -> Parser:
    parser = Parser(
        "calibrate",
        "Find, on every second held-out batch, the threshold with which each halting rule stops units "
        "soonest for a stated loss of quality; measure quality, loops and seconds on the other batches, "
        "beside fixed depths and an oracle, and show where the loops went. Writes calibration.json, "
        "allocation.json and report.html in the run folder; after that sample, evaluate and plan take halting=calibrated.",
        {
            "loopverse calibrate runs/NAME": "every rule that needs no training, and the run's own",
            "loopverse calibrate runs/NAME --max-increase 2%": "let quality fall further",
            "loopverse calibrate runs/NAME --loops 8 --rules fixed_point,confidence": "two rules, with "
            "8 loops at most",
            "loopverse sample runs/NAME halting=calibrated": "use what was found",
        },
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument(
        "--max-increase",
        metavar="SHARE",
        type=_share,
        default=0.005,
        help="of the headline metric, at most (0.5%%)",
    )
    parser.add_argument(
        "--rules", metavar="LIST", type=_names, help="rules by name, such as fixed_point,confidence"
    )
    parser.add_argument(
        "--loops", metavar="N", type=loops_number, help="the most that a unit gets (as in training)"
    )
    parser.add_argument(
        "--checkpoint", metavar="WHICH", default="best", help="best, last or a step (best)"
    )
    parser.add_argument("--batches", metavar="N", type=int, default=32, help="batches at most (32)")
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=int,
        help="sequences in a batch (as in training, or less where there would be fewer than 16)",
    )
    return parser

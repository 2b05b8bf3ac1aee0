"""`loopverse evaluate`: what a run is worth at several numbers of loops."""

from __future__ import annotations

from rich.console import Console

from loopverse.cli.arguments import Parser, loops_list


def command(arguments: list[str]) -> int:
    """Measure, print the table, keep it in the run folder and bring the report up to date."""
    options = _parser().parse_args(arguments)
    from loopverse.analysis.evaluate import evaluate_run  # below the parser: these import torch
    from loopverse.analysis.report import write_report
    from loopverse.cli.depths import show_depths

    table = evaluate_run(
        options.run,
        options.loops,
        checkpoint=options.checkpoint,
        batch_size=options.batch_size,
        max_batches=options.batches,
    )
    console = Console(highlight=False)
    show_depths(console, table)
    console.print(f"[bold]report[/]  {write_report(options.run)}", soft_wrap=True)
    return 0


def _parser() -> Parser:
    parser = Parser(
        "evaluate",
        "Measure a run on held-out data at several depths, all on the same batches, and write "
        "evaluation.json and report.html in its folder.",
        {
            "loopverse evaluate runs/NAME": "up to twice the depth of training",
            "loopverse evaluate runs/NAME --loops 1,2,4,8,16": "depths of your choice",
            "loopverse evaluate runs/NAME --checkpoint 400 --batches 4": "an earlier step, quickly",
        },
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--loops", metavar="LIST", type=loops_list, help="depths, such as 1,2,4,8")
    parser.add_argument(
        "--checkpoint", metavar="WHICH", default="best", help="best, last or a step (best)"
    )
    parser.add_argument("--batches", metavar="N", type=int, help="batches at most (as in training)")
    parser.add_argument(
        "--batch-size", metavar="N", type=int, help="sequences in a batch (as in training)"
    )
    return parser

"""`loopverse evaluate`: what a run is worth at several numbers of loops, and what it makes."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from loopverse.cli.arguments import Parser, loops_list, numbers_list
from loopverse.errors import UserError


def command(arguments: list[str]) -> int:
    """Measure, print the table, keep it in the run folder and bring the report up to date."""
    options = _parser().parse_with_settings(arguments)
    from loopverse.analysis.report import write_report  # below the parser: it imports torch

    console = Console(highlight=False)
    asked = (options.steps, options.judge, options.samples)
    if any(value is not None for value in asked) or not all(map(_of_halting, options.settings)):
        _quality(console, options)
    elif options.settings:
        _rule(console, options)
    else:
        _depths(console, options)
    console.print(f"[bold]report[/]  {write_report(options.run)}", soft_wrap=True)
    return 0


def _depths(console: Console, options: argparse.Namespace) -> None:
    """The held-out metrics at each depth, and what the domain shows."""
    from loopverse.analysis.evaluate import evaluate_run
    from loopverse.analysis.exhibits import Exhibition
    from loopverse.cli.allocation import show_allocation
    from loopverse.cli.depths import show_depths
    from loopverse.cli.exhibits import show_exhibits
    from loopverse.training import RunFolder

    table = evaluate_run(
        options.run,
        options.loops,
        checkpoint=options.checkpoint,
        batch_size=options.batch_size,
        max_batches=options.batches,
    )
    show_depths(console, table)
    show_exhibits(console, Exhibition.load(Path(options.run)).exhibits, options.run)
    if RunFolder.open(options.run).config.halting.adaptive:
        show_allocation(console, options.run)


def _rule(console: Console, options: argparse.Namespace) -> None:
    """The held-out metrics at fixed depths and under a rule to stop early, and where the loops went."""
    from loopverse.analysis.evaluate import evaluate_rules
    from loopverse.cli.allocation import show_allocation
    from loopverse.depth.halting.naming import name_of
    from loopverse.training import RunFolder, read_halting

    folder = RunFolder.open(options.run)
    rule, _ = read_halting(options.settings, folder.path)
    if not rule.adaptive:
        raise UserError(
            f"halting={name_of(rule)} stops nothing early: choose a rule that does, such as "
            "halting=fixed_point, or leave it out and compare depths with --loops"
        )
    evaluate_rules(
        folder,
        {name_of(rule): rule},
        options.loops,
        checkpoint=options.checkpoint,
        batch_size=options.batch_size,
        max_batches=options.batches,
    )
    show_allocation(console, options.run)


def _of_halting(word: str) -> bool:
    return word.partition("=")[0].partition(".")[0] == "halting"


def _quality(console: Console, options: argparse.Namespace) -> None:
    """What it makes of nothing, with each number of loops and steps."""
    from loopverse.analysis.generation import SAMPLES, evaluate_quality
    from loopverse.cli.quality import show_quality
    from loopverse.registry import load_domain
    from loopverse.training import RunFolder
    from loopverse.training.use import read_use

    if options.batches or options.batch_size:
        raise UserError(
            "--batches and --batch-size are for held-out data, and --steps, --judge, --samples and "
            "settings other than halting for what the model makes: leave out one or the other"
        )
    folder = RunFolder.open(options.run)
    domain = load_domain(folder.config.choices["domain"])
    use = read_use(domain.Sampling, options.settings, folder.path)
    table = evaluate_quality(
        folder,
        options.loops,
        options.steps,
        judge=options.judge,
        samples=SAMPLES if options.samples is None else options.samples,
        budget=use.budget,
        halting=use.halting,
        vote=use.vote,
        settings=use.sampling,
        checkpoint=options.checkpoint,
    )
    show_quality(console, table)


def _parser() -> Parser:
    parser = Parser(
        "evaluate",
        "Measure a run on held-out data at several depths, all on the same batches, show what its "
        "domain has to show, and write evaluation.json, exhibits.json and report.html in its folder. "
        "With halting=RULE, hold that rule to stop early against fixed depths, and show where the loops "
        "went: for which units, and whether harder ones get more; written to allocation.json. With "
        "--steps, --judge, --samples or settings of sampling, measure instead what it makes from "
        "nothing, against the layers evaluated: likelihood under a judge, a run that reads texts, beside "
        "entropy and distinct-n; written to quality.json.",
        {
            "loopverse evaluate runs/NAME": "up to twice the depth of training",
            "loopverse evaluate runs/NAME --loops 1,2,4,8,16": "depths of your choice",
            "loopverse evaluate runs/NAME --checkpoint 400 --batches 4": "an earlier step, quickly",
            "loopverse evaluate runs/NAME halting=fixed_point halting.tolerance=0.1": "a rule to stop "
            "early, and where the loops go under it",
            "loopverse evaluate runs/NAME --loops 1,2,4 --steps 8,16,32 --judge runs/OTHER": "what it "
            "makes, where the domain samples in steps",
            "loopverse evaluate runs/NAME --judge runs/OTHER budget=peaked": "the same with loops "
            "shared out; `loopverse sample runs/NAME --settings` lists what can be set",
        },
        settings="a rule to stop early, `halting=`; or settings of sampling, `budget=` and `vote=`, as for "
        "`loopverse sample`",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--loops", metavar="LIST", type=loops_list, help="depths, such as 1,2,4,8")
    parser.add_argument(
        "--steps",
        metavar="LIST",
        type=numbers_list,
        help="steps of sampling, such as 8,16,32, where the domain has that setting",
    )
    parser.add_argument("--judge", metavar="RUN", help="a run that says how likely the texts are")
    parser.add_argument("--samples", metavar="N", type=int, help="texts to make for each (16)")
    parser.add_argument(
        "--checkpoint", metavar="WHICH", default="best", help="best, last or a step (best)"
    )
    parser.add_argument("--batches", metavar="N", type=int, help="batches at most (as in training)")
    parser.add_argument(
        "--batch-size", metavar="N", type=int, help="sequences in a batch (as in training)"
    )
    return parser

"""`loopverse check`: a domain of your own against the contract, before any training."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from loopverse.cli.arguments import Parser
from loopverse.errors import UserError

COLOURS = {"passed": "green", "failed": "red", "not run": "yellow", "nothing to check": "dim"}


def command(arguments: list[str]) -> int:
    """Run every check of the contract on an installed domain, and show each as it ends.

    Raises:
        ValueError: the contract is broken; what was found is on standard output.
    """
    options = _parser().parse_args(arguments)
    from loopverse.registry import load_domain
    from loopverse.testing import Bench, domain_checks, run_checks  # below the parser: torch
    from loopverse.training.compose import compose

    adapter = load_domain(options.name)
    config = compose([f"domain={options.name}", *options.settings]).domain
    console = Console(highlight=False)
    failed, checks = 0, domain_checks()
    for result in run_checks(checks, Bench(adapter, config)):
        console.print(
            f"  [{COLOURS[result.status]}]{result.status:16}[/]  {escape(result.check.sentence)}",
            soft_wrap=True,
        )
        if result.failure is not None:
            failed += 1
            console.print(f"{'':20}[bold]{escape(str(result.failure))}[/]", soft_wrap=True)
    if failed:
        raise UserError(
            f"{options.name} ({adapter.__qualname__}) breaks the contract: "
            f"{failed} of {len(checks)} checks failed"
        )
    print(f"{options.name} ({adapter.__qualname__}) keeps the contract")
    return 0


def _parser() -> Parser:
    parser = Parser(
        "check",
        "Check an installed domain against the contract: shapes, determinism, leakage, gradients, "
        "metrics, sampling. What is wrong is said with what was expected and what to do.",
        {
            "loopverse check autoregressive": "ours passes, and so should yours",
            "loopverse check mine domain.length=8": "with settings that make it quick",
        },
    )
    parser.add_argument("name", metavar="NAME", help="a domain; `loopverse domains` lists them")
    parser.add_argument(
        "settings",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],  # or it would be called required where NAME is missing
        help="settings, as for `loopverse train`",
    )
    return parser

"""`loopverse check`: a domain of your own against the contract, before any training."""

from __future__ import annotations

from loopverse.cli.arguments import Parser


def command(arguments: list[str]) -> int:
    """Run every check of the contract on an installed domain."""
    parser = Parser(
        "check",
        "Check an installed domain against the contract: shapes, determinism, gradients, metrics. "
        "What is wrong is said with what was expected and what to do.",
        {"loopverse check autoregressive": "ours passes, and so should yours"},
    )
    parser.add_argument("name", metavar="NAME", help="a domain; `loopverse domains` lists them")
    options = parser.parse_args(arguments)
    from loopverse.registry import load_domain
    from loopverse.testing import check_domain  # below the parser: it imports torch

    adapter = load_domain(options.name)
    check_domain(adapter)
    print(f"{options.name} ({adapter.__qualname__}) keeps the contract")
    return 0

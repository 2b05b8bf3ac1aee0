"""`loopverse domains`: what is installed to learn from. Imports none of it."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from rich.console import Console

from loopverse import registry
from loopverse.cli.arguments import Parser
from loopverse.cli.overview import in_columns


def command(arguments: list[str]) -> int:
    """List the domains by name, with the class and the package that bring them."""
    parser = Parser(
        "domains",
        "List the installed domains. A domain of your own is an entry point of the group "
        "`loopverse.domains` in its own package; train it with `loopverse train domain=NAME`.",
        {"loopverse domains": "the names to write after domain="},
    )
    parser.parse_args(arguments)
    points = registry.domain_entry_points()
    console = Console(highlight=False)
    lines = in_columns({name: _about(point) for name, point in points.items()}, console.width)
    for line in lines or ["no domain is installed; `pip install loopverse` brings autoregressive"]:
        console.print(line, soft_wrap=True)
    return 0


def _about(point: EntryPoint) -> str:
    origin = (
        f"{point.value} ({point.dist.name} {point.dist.version})" if point.dist else point.value
    )
    gone = registry.missing_package(point)
    return f"{origin}: broken, there is no package {gone}" if gone else origin

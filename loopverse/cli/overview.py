"""`loopverse --help`: what there is to do, and what to type first."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from textwrap import wrap

from rich.console import Console
from rich.markup import escape

from loopverse import registry

COMMANDS = {
    "train": "train a model, go on with a run, or sweep over settings",
    "sample": "let a trained model continue prompts",
    "evaluate": "measure a run at several numbers of loops, and what it makes",
    "calibrate": "find how soon a run may stop early, and what that saves",
    "diagnose": "see what each loop of a run does, and what looks unhealthy",
    "compare": "find out whether looping is worth it: studies with controls, or runs you have",
    "report": "write the report.html of a run anew",
    "domains": "list what can be learned here: the installed domains",
    "new": "write a package with a domain of your own",
    "check": "check a domain of your own against the contract",
}

EXAMPLES = {
    "loopverse train": "on text, in under five minutes on two CPU cores",
    "loopverse train core=huginn core.loops=8": "a published core, and its depth",
    "loopverse train -m core.loops=1,2,4 seed=0,1": "six runs, one after the other",
    "loopverse train run=runs/NAME": "go on where a run was stopped",
    'loopverse sample runs/NAME --prompt "def "': "hear what it has learned",
    "loopverse evaluate runs/NAME --loops 1,2,4,8": "see what each loop buys",
}


def show_overview() -> None:
    """Print the overview on standard output."""
    console = Console(highlight=False)
    console.print("[bold]Loopverse[/]: networks that read the same thing again and again\n")
    console.print("[bold]usage[/]  loopverse COMMAND ...\n")
    show_pairs(console, "commands", COMMANDS)
    if more := {name: _about(point) for name, point in more_commands().items()}:
        show_pairs(console, "commands of installed packages", more)
    show_examples(console, EXAMPLES)
    console.print("`loopverse COMMAND --help` says more; that of train lists every setting.")


def more_commands() -> dict[str, EntryPoint]:
    """Commands that packages bring, but for names that are ours."""
    points = registry.command_entry_points()
    return {name: point for name, point in points.items() if name not in COMMANDS}


def _about(point: EntryPoint) -> str:
    """What a command does, as far as its source says so, and the package that it comes from."""
    if gone := registry.missing_package(point):
        return f"broken, there is no package {gone}"
    origin = f"from {point.dist.name}" if point.dist else ""
    told = registry.about(point).rstrip(".")
    return ", ".join(part for part in (told, origin) if part)


def show_pairs(console: Console, title: str, pairs: dict[str, str]) -> None:
    """Print a titled list of things and what they are about."""
    console.print(f"[bold]{title}[/]")
    for line in in_columns(pairs, console.width):
        console.print(line, soft_wrap=True)
    console.print()


def show_examples(console: Console, examples: dict[str, str], title: str = "examples") -> None:
    """Print lines to type, each under what it is for."""
    console.print(f"[bold]{title}[/]")
    for line, purpose in examples.items():
        console.print(f"  # {escape(purpose)}", style="dim", soft_wrap=True)
        console.print(f"  [cyan]{escape(line)}[/]", soft_wrap=True)
    console.print()


def in_columns(pairs: dict[str, str], width: int) -> list[str]:
    """Lines of two columns, marked up: things, and what they are about, wrapped to `width`."""
    wide = max((len(thing) for thing in pairs if len(thing) <= 36), default=0)
    lines = []
    for thing, about in pairs.items():
        room = max(24, width - wide - 5)
        first, *rest = [part for line in about.splitlines() for part in wrap(line, room)] or [""]
        gap = " " * (wide + 5)
        if len(thing) > wide and first:
            lines.append(f"  [cyan]{escape(thing)}[/]")
            lines.append(f"{gap}{escape(first)}")
        else:
            lines.append(
                f"  [cyan]{escape(thing)}[/]{' ' * (wide - len(thing) + 3)}{escape(first)}".rstrip()
            )
        lines += [f"{gap}{escape(line)}" for line in rest]
    return lines

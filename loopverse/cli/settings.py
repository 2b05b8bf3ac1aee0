"""Every choice and setting with its value: `loopverse train --help`, `loopverse sample RUN --settings`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from rich.console import Console

from loopverse.cli.overview import show_pairs
from loopverse.nn import CoreConfig
from loopverse.training.compose import compose
from loopverse.training.config import TrainConfig
from loopverse.training.sources import config_folder, group_options
from loopverse.training.use import CHOICES, Use

GRAMMAR = {
    "core=huginn": "choose an option of a group",
    "core.loops=8": "set a value; what was chosen stays",
    "training.clip=null": "none of it, where null is allowed",
    "domain.corpus='\"a, b.txt\"'": "text with spaces or commas: quoted for the shell and for us",
    "run=runs/NAME": "go on with a run where it was stopped; nothing else may be set",
}

OPTIONS = {
    "-m": "every combination of values written as lists: core.loops=1,2,4 seed=0,1",
    "--cfg job": "print the configuration and stop; with --resolve, values in place of references",
    "--config-dir DIR": "look for settings files in a folder of yours too: DIR/core/mine.yaml",
    "--info defaults": "where each part comes from",
    "-sc install=bash": 'completion with the tab key: eval "$(loopverse train -sc install=bash)"',
}


def show_settings(overrides: Sequence[str]) -> None:
    """Print the help of `loopverse train`, with the values that `overrides` lead to."""
    config = compose(overrides)
    console = Console(highlight=False)
    console.print("[bold]usage[/]  loopverse train [OPTIONS] [GROUP=NAME] [KEY=VALUE] ...\n")
    console.print(
        "Trains a model into a new folder below runs/, measures it at several depths, lets it "
        "speak and writes a report. Ctrl-C saves first and says how to go on.\n"
    )
    show_pairs(console, "settings are written as", GRAMMAR)
    show_pairs(console, "options", OPTIONS)
    show_pairs(
        console, "groups: what they decide, and the options (* in this line)", _groups(config)
    )
    console.print(f"The files behind them are in {config_folder()}\n", soft_wrap=True)
    console.print("[bold]settings[/], with the values of this line; add choices to see theirs\n")
    for title, rows in _sections(config):
        show_pairs(console, title, rows)


def show_use(use: Use) -> None:
    """Print what can be set about the use of a model, with the values of this line."""
    console = Console(highlight=False)
    console.print("[bold]settings[/] are written KEY=VALUE; add choices to see theirs\n")
    for _, rows in _sections(use.sampling):
        show_pairs(console, "sampling, with the values of this line", rows)
    docs, groups = attribute_docs(Use), {}
    for group, options in CHOICES.items():
        chosen = type(getattr(use, group))
        names = [f"{name}*" if kind is chosen else name for name, kind in options.items()]
        groups[group] = f"{docs[group].rstrip('.')}\n{'  '.join(names)}"
    show_pairs(console, "groups: what they decide, and the options (* in this line)", groups)
    for group in CHOICES:
        for title, rows in _sections(getattr(use, group), f"{group}."):
            show_pairs(console, title, rows)


def attribute_docs(kind: type) -> dict[str, str]:
    """What each field of a dataclass means: the `Attributes:` of its docstring and its bases'."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        section = re.search(r"\n\s*Attributes:\n(.*?)(?:\n\s*\n|\Z)", base.__doc__ or "", re.DOTALL)
        if section is None:
            continue
        lines = section[1].rstrip().splitlines()
        indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        name = None
        for line in lines:
            started = re.match(rf"\s{{{indent}}}(\w+): (.*)", line)
            if started:
                name = started[1]
                docs[name] = started[2]
            elif name is not None:
                docs[name] += " " + line.strip()
    return docs


def _groups(config: TrainConfig) -> dict[str, str]:
    """What each group decides, and its options, those of this line marked."""
    docs = attribute_docs(TrainConfig) | {"size": "how wide the core is, and how fast it learns."}
    inner = attribute_docs(CoreConfig)
    docs |= {f"core/{name}": text for name, text in inner.items()}
    chosen = set(config.choices.items())
    groups = {}
    for group in group_options():
        names = [f"{o}*" if (group, o) in chosen else o for o in group_options(group)]
        groups[group] = f"{docs[group].rstrip('.')}\n{'  '.join(names)}"
    return groups


def _sections(value: Any, prefix: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    """Titled settings of a dataclass, then those of the dataclasses in it."""
    docs = attribute_docs(type(value))
    rows, below = {}, []
    for item in fields(value):
        inner = getattr(value, item.name)
        if is_dataclass(inner):
            below.append((inner, f"{prefix}{item.name}."))
        elif item.name != "choices":
            rows[f"{prefix}{item.name}={_written(inner)}"] = docs.get(item.name, "")
    if rows:
        yield _title(value, prefix), rows
    for inner, name in below:
        yield from _sections(inner, name)


def _title(value: Any, prefix: str) -> str:
    about = (type(value).__doc__ or "").strip().splitlines()[0]
    return f"{prefix.rstrip('.')}[/]  {about}[bold]" if prefix else "the run"


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    return str(value)

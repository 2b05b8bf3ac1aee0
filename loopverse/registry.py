"""What other packages bring, by name: entry points of `loopverse.domains` and `loopverse.commands`.

A domain is a class, a command a function that takes the words after its name and returns its exit
status. Looking them up imports nothing.
"""

from __future__ import annotations

import ast
import importlib.util
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from loopverse.errors import UserError, unknown

if TYPE_CHECKING:
    from loopverse.domain import DomainAdapter

GROUP = "loopverse.domains"
COMMANDS = "loopverse.commands"

Command = Callable[[list[str]], int]


def domain_entry_points() -> dict[str, EntryPoint]:
    """Every installed domain by name, nothing imported; a name claimed twice warns, the first wins."""
    return _installed(GROUP, "domain")


def command_entry_points() -> dict[str, EntryPoint]:
    """Every command that a package brings, by name; as with domains."""
    return _installed(COMMANDS, "command")


def load_domain(name: str) -> type[DomainAdapter]:
    """The adapter class of a domain; only its own package is imported.

    Raises:
        ValueError: no such domain, its package does not import, or it is no adapter.
    """
    points = domain_entry_points()
    if name not in points:
        remedy = f"any other comes with a package of its own, in {GROUP}: install that"
        raise unknown("domain", name, points, remedy)
    adapter = _loaded("domain", points[name])
    from loopverse.domain import (
        DomainAdapter,
    )  # here, because listing domains must not import torch

    if not (isinstance(adapter, type) and issubclass(adapter, DomainAdapter)):
        raise UserError(
            f"domain {name!r} must be a subclass of loopverse.DomainAdapter, got {adapter!r}: "
            f"mend the entry point {points[name].value}"
        )
    return adapter


def load_command(point: EntryPoint) -> Command:
    """The function of a command; only its own package is imported.

    Raises:
        ValueError: its package does not import, or it is no function.
    """
    command = _loaded("command", point)
    if not callable(command):
        raise UserError(
            f"command {point.name!r} must be a function of a list of words, got {command!r}: "
            f"mend the entry point {point.value}"
        )
    return cast(Command, command)


def about(point: EntryPoint) -> str:
    """What an entry point is for, in a line, read from its source without importing it.

    The first line of the docstring of what it names; empty where there is none to be read.
    """
    path = _source(point.module)
    if path is None:
        return ""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == point.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def missing_package(point: EntryPoint) -> str:
    """The package that an entry point names and that is not there; empty where it is."""
    top = point.module.split(".")[0]
    return "" if importlib.util.find_spec(top) else top


def _installed(group: str, kind: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        if found.setdefault(point.name, point).value != point.value:
            warnings.warn(
                f"two packages offer the {kind} {point.name!r}: using {found[point.name].value}, "
                f"ignoring {point.value}",
                stacklevel=3,
            )
    return dict(sorted(found.items()))


def _loaded(kind: str, point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:  # whatever a stranger's package raises; its cause is kept
        raise UserError(
            f"{kind} {point.name!r} is registered as {point.value} and does not import "
            f"({type(error).__name__}: {error}): mend or uninstall that package"
        ) from error


def _source(module: str) -> Path | None:
    """The file of a module; only finders are asked, so that not even its package is imported."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations or ():
        for path in (Path(folder, *rest).with_suffix(".py"), Path(folder, *rest, "__init__.py")):
            if path.is_file():
                return path
    return None

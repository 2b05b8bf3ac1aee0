"""The source of a checkout, for the tests that read it instead of running it."""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

Guard = Callable[[Path], list[str]]
"""Reads a checkout and returns what breaks its rule."""


def sources(root: Path, *folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Every Python file below `folders`, as its path in the repository and its syntax tree."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            yield name, parsed(path.read_text(encoding="utf-8"))


@cache
def parsed(text: str) -> ast.Module:
    """The syntax tree of a file; not to be changed, because the guards share it."""
    return ast.parse(text)


def domain_packages(root: Path) -> list[str]:
    """The packages in `domains/`."""
    return sorted(path.name for path in (root / "domains").glob("loopverse_*"))


def new_violations(guard: Guard, root: Path, file: str, text: str) -> list[str]:
    """What a guard finds in a checkout only once `text` is planted in it as `file`."""
    before = set(guard(root))
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    return sorted(set(guard(root)) - before)

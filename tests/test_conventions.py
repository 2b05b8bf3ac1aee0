"""Guards of the conventions: reasons for what is silenced, no machine's folders, documented names."""

import importlib
import inspect
import re
import subprocess
from pathlib import Path

import pytest
from source_code import REPOSITORY, Guard, domain_packages, new_violations


def unexplained_suppressions(root: Path) -> list[str]:
    """Silenced checkers without a reason: after the suppression, or in a comment above it."""
    silenced = re.compile(
        r"#\s*(type: ignore|pyright: ignore|noqa)(\[[\w, -]+\]|: [\w, ]+)?(?P<rest>.*)"
    )
    found = []
    for folder in ("loopverse", "domains", "benchmarks"):
        for path in sorted((root / folder).rglob("*.py")):
            lines = path.read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines):
                match = silenced.search(line)
                above = lines[number - 1].lstrip() if number else ""
                if match and len(match["rest"].strip(" #")) < 10 and not above.startswith("#"):
                    found.append(
                        f"{path.relative_to(root).as_posix()}:{number + 1}: {line.strip()}"
                    )
    return found


def machine_paths(root: Path) -> list[str]:
    """Files under version control that name a folder of somebody's machine."""
    machine = re.compile(rb"(?<![\w.~}])/(?:work|root|home|Users|opt)/[\w.]")
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z"], capture_output=True, check=True, timeout=60
    ).stdout.decode()
    found = []
    for name in filter(None, listed.split("\0")):
        path = root / name
        if not path.is_file() or path.suffix in (".png", ".safetensors"):
            continue
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if machine.search(line):
                found.append(f"{name}:{number}: {line.decode(errors='replace').strip()[:80]}")
    return found


def test_every_suppression_has_a_reason() -> None:
    assert unexplained_suppressions(REPOSITORY) == []


def test_no_committed_file_names_a_folder_of_a_machine() -> None:
    assert machine_paths(REPOSITORY) == []


@pytest.mark.parametrize(
    ("guard", "file", "text"),
    [
        (unexplained_suppressions, "loopverse/nn/planted.py", "x = 1  # type: " + "ignore[misc]"),
        (unexplained_suppressions, "loopverse/nn/planted.py", "import os  # no" + "qa: F401"),
        (machine_paths, "docs/planted.md", "See /ho" + "me/somebody/runs."),
    ],
)
def test_each_guard_finds_its_planted_violation(
    guard: Guard, file: str, text: str, checkout: Path
) -> None:
    def among_committed(root: Path) -> list[str]:
        subprocess.run(["git", "-C", root, "add", "--all"], check=True, timeout=60)
        return guard(root)

    (found,) = new_violations(among_committed, checkout, file, text)
    assert found.startswith(f"{file}:1: ")


PUBLIC_MODULES = sorted(
    {
        f"loopverse.{path.stem if path.is_file() else path.name}"
        for path in (REPOSITORY / "loopverse").iterdir()
        if not path.name.startswith("_")
        and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    | set(domain_packages(REPOSITORY))
)


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_is_documented(module: str) -> None:
    """Inherited docstrings count: an override that keeps the contract need not repeat it."""
    loaded = importlib.import_module(module)
    assert loaded.__doc__
    missing = []
    for name in getattr(loaded, "__all__", [n for n in vars(loaded) if not n.startswith("_")]):
        value = getattr(loaded, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        if not value.__module__.startswith("loopverse"):
            continue
        if not inspect.getdoc(value):
            missing.append(name)
        if inspect.isclass(value):
            missing += [
                f"{name}.{member}"
                for member, found in vars(value).items()
                if not member.startswith("_") and member != "forward"
                if inspect.isroutine(found) or isinstance(found, property)
                if not any(getattr(vars(base).get(member), "__doc__", "") for base in value.__mro__)
            ]
    assert missing == []

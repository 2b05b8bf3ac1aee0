"""Guards of the architecture: who imports whom.

Each guard is shown violations, planted in a copy, that it must find.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_code import REPOSITORY, Guard, domain_packages, new_violations, sources

ROOMS = (
    *("errors", "memory", "exhibit", "depth", "nn", "domain", "registry", "model"),
    *("training", "analysis", "diagnosis", "compare", "testing", "cli", "__main__"),
)
"""A room imports rooms to its left. `text` stands aside: no room imports it, domains do."""
TEXT_MAY_IMPORT = ("errors", "exhibit", "nn", "domain")
BRIDGE = "domains/loopverse_masked_diffusion/diffusion_pipeline/"


def imports(tree: ast.Module) -> Iterator[tuple[int, str, str | None]]:
    """Every import anywhere in a file: its line, the module, and the name taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, module, alias.name) for alias in node.names)


def wrong_directions(root: Path) -> list[str]:
    """Imports within `loopverse` that point the wrong way, or at a domain."""
    domains = domain_packages(root)
    found = []
    for name, tree in sources(root, "loopverse"):
        room = name.split("/")[1].removesuffix(".py")
        if room == "__init__":  # gathers the public names of all rooms
            continue
        if room not in (*ROOMS, "text"):
            found.append(f"{name}: no such room as {room}")
            continue
        allowed = TEXT_MAY_IMPORT if room == "text" else ROOMS[: ROOMS.index(room)]
        for line, module, taken in imports(tree):
            top, _, rest = module.partition(".")
            if module.startswith(".") or top in domains:
                found.append(f"{name}:{line}: imports {module}")
            if top != "loopverse":
                continue
            if rest:
                targets = [rest.split(".")[0]]
            else:
                targets = [taken] if taken else _attributes(tree, "loopverse")
            forbidden = set(targets) - {*allowed, room, "__version__"}
            found += [f"{name}:{line}: {room} imports {target}" for target in sorted(forbidden)]
    return found


def _attributes(tree: ast.Module, variable: str) -> list[str]:
    """What a file reads from a variable: `variable.this`."""
    return [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == variable
    ]


def public_names(root: Path, module: str) -> set[str] | None:
    """What `module` offers: its `__all__`, or what it defines; None when it is not public itself."""
    parts = module.split(".")
    if len(parts) > 2:
        return None
    path = root.joinpath(*parts, "__init__.py")
    path = path if path.exists() else root.joinpath(*parts).with_suffix(".py")
    if not path.exists():
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            if "__all__" in names and node.value is not None:
                return set(ast.literal_eval(node.value))
            defined |= names
    return {name for name in defined if not name.startswith("_")}


def borrowed_private_names(root: Path) -> list[str]:
    """Imports in domains that are not public names of `loopverse`, or belong to another domain."""
    domains = domain_packages(root)
    found = []
    for name, tree in sources(root, "domains"):
        own = name.split("/")[1]
        for line, module, taken in imports(tree):
            top = module.split(".")[0]
            if top in domains and top != own:
                found.append(f"{name}:{line}: imports the domain {top}")
            if top == "loopverse" and taken not in (public_names(root, module) or ()):
                found.append(f"{name}:{line}: {taken or module} is not a public name of {module}")
    return found


def diffusers_outside_its_bridge(root: Path) -> list[str]:
    """Imports of diffusers, which takes seconds, anywhere but in the package that is there for it."""
    return [
        f"{name}:{line}: imports {module}"
        for name, tree in sources(root, "loopverse", "domains", "benchmarks")
        if not name.startswith(BRIDGE)
        for line, module, _ in imports(tree)
        if module.split(".")[0] == "diffusers"
    ]


def bridge_imported_by_others(root: Path) -> list[str]:
    """Imports of the bridge to diffusers by the rest of us, who would then import diffusers too."""
    package = BRIDGE.removeprefix("domains/").rstrip("/").replace("/", ".")
    return [
        f"{name}:{line}: imports {module}.{taken}"
        for name, tree in sources(root, "loopverse", "domains")
        if not name.startswith(BRIDGE)
        for line, module, taken in imports(tree)
        if f"{module}.{taken}.".startswith(f"{package}.")
    ]


def test_imports_point_one_way() -> None:
    assert wrong_directions(REPOSITORY) == []


def test_domains_use_only_public_names_and_never_each_other() -> None:
    assert borrowed_private_names(REPOSITORY) == []


def test_one_package_imports_diffusers_and_only_its_users_import_it() -> None:
    assert diffusers_outside_its_bridge(REPOSITORY) == []
    assert bridge_imported_by_others(REPOSITORY) == []


PLANTS: list[tuple[Guard, str, str, str]] = [
    (wrong_directions, "loopverse/depth/planted.py", "import loopverse.nn", "depth imports nn"),
    (
        wrong_directions,
        "loopverse/nn/planted.py",
        "def late():\n    from loopverse.training import train",
        "nn imports training",
    ),
    (
        wrong_directions,
        "loopverse/model/planted.py",
        "from loopverse import cli",
        "model imports cli",
    ),
    (
        wrong_directions,
        "loopverse/model/planted.py",
        "import loopverse\n\nloopverse.train()",
        "model imports train",
    ),
    (
        wrong_directions,
        "loopverse/exhibit/planted.py",
        "from loopverse.nn import CoreInput",
        "exhibit imports nn",
    ),
    (
        wrong_directions,
        "loopverse/text/planted.py",
        "from loopverse.depth import iterate",
        "imports depth",
    ),
    (wrong_directions, "loopverse/nn/planted.py", "from ..cli import main", "imports ..cli"),
    (
        wrong_directions,
        "loopverse/cli/planted.py",
        "import loopverse_autoregressive",
        "imports loopverse_autoregressive",
    ),
    (wrong_directions, "loopverse/attic/planted.py", "", "no such room as attic"),
    (
        borrowed_private_names,
        "domains/loopverse_autoregressive/planted.py",
        "from loopverse.depth.loop import iterate",
        "iterate is not a public name of loopverse.depth.loop",
    ),
    (
        borrowed_private_names,
        "domains/loopverse_autoregressive/planted.py",
        "from loopverse.depth import roster_for",
        "roster_for is not a public name of loopverse.depth",
    ),
    (
        borrowed_private_names,
        "domains/loopverse_other/planted.py",
        "from loopverse_autoregressive import Autoregressive",
        "imports the domain loopverse_autoregressive",
    ),
    (
        diffusers_outside_its_bridge,
        "domains/loopverse_masked_diffusion/planted.py",
        "def late():\n    from diffusers.utils import BaseOutput",
        "imports diffusers.utils",
    ),
    (
        bridge_imported_by_others,
        "domains/loopverse_masked_diffusion/planted.py",
        "from loopverse_masked_diffusion import diffusion_pipeline",
        "imports loopverse_masked_diffusion.diffusion_pipeline",
    ),
]


@pytest.mark.parametrize(("guard", "file", "text", "complaint"), PLANTS)
def test_each_guard_finds_its_planted_violation(
    guard: Guard, file: str, text: str, complaint: str, checkout: Path
) -> None:
    (found,) = new_violations(guard, checkout, file, text)
    assert complaint in found

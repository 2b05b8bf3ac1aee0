"""Guards of the architecture: who imports whom, one loop over depth, one training loop.

Each guard reads the source of a checkout and returns what breaks its rule, and each is shown a
violation, planted in a copy, that it must find.
"""

import ast
import builtins
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

ROOMS = (
    *("errors", "depth", "nn", "domain", "registry", "model"),
    *("training", "analysis", "testing", "cli", "__main__"),
)
"""A room imports rooms to its left, and `text`, which stands aside, only `errors`."""

LOOPS_OVER_DEPTH = {
    "loopverse/depth/loop.py:iterate",
    # The recorded steps that define a phantom gradient: no unit is deeper for them.
    "loopverse/depth/gradient.py:Phantom.attach",
}

Guard = Callable[[Path], list[str]]


def sources(root: Path, *folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Every Python file below `folders`, as its path in the repository and its syntax tree."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            yield name, ast.parse(path.read_text(encoding="utf-8"), name)


def imports(tree: ast.Module) -> Iterator[tuple[int, str, str | None]]:
    """Every import anywhere in a file: its line, the module, and the name taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, module, alias.name) for alias in node.names)


def domain_packages(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "domains").glob("loopverse_*"))


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
        allowed = ("errors",) if room == "text" else ROOMS[: ROOMS.index(room)]
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


def loops_over_depth(root: Path) -> list[str]:
    """Where a loop feeds a value through the same function again and again: `z = f(z)`.

    A loop over the layers of a stack is something else: there the function is the loop's variable.
    Functions of other libraries and built-in ones are no steps.
    """
    return [
        f"{name}:{owner}"
        for name, tree in sources(root, "loopverse", "domains")
        for owner, loop in _loops(tree)
        if _feeds_back(loop, _foreign_names(tree))
    ]


def _loops(tree: ast.Module) -> Iterator[tuple[str, ast.For | ast.While]]:
    """Every loop of a file, with the name of the function, or method, around it."""

    def visit(node: ast.AST, owner: tuple[str, ...]) -> Iterator[tuple[str, ast.For | ast.While]]:
        if isinstance(node, ast.For | ast.While):
            yield ".".join(owner), node
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.ClassDef)
            inside = bool(owner) and isinstance(node, ast.FunctionDef)
            yield from visit(child, (*owner, child.name) if named and not inside else owner)

    return visit(tree, ())


def _foreign_names(tree: ast.Module) -> set[str]:
    """Names that other libraries, and Python, define."""
    return set(dir(builtins)) | {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("loopverse"))
        for alias in node.names
    }


def _feeds_back(loop: ast.For | ast.While, foreign: set[str]) -> bool:
    own = _names(loop.target) if isinstance(loop, ast.For) else set()
    fresh = set(own)  # assigned anew in every turn, and so not carried from one to the next
    for node in (node for statement in loop.body for node in ast.walk(statement)):
        if isinstance(node, ast.For):
            fresh |= _names(node.target)
        if not isinstance(node, ast.Assign):
            continue
        assigned = set().union(*(_targets(target) for target in node.targets))
        for call in (call for call in ast.walk(node.value) if isinstance(call, ast.Call)):
            arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
            read = set().union(*(_names(argument) for argument in arguments))
            if (assigned & read) - fresh and not _root(call.func) & (foreign | own):
                return True
        fresh |= (assigned - _names(node.value)) if node in loop.body else set()
    return False


def _targets(node: ast.expr) -> set[str]:
    """What an assignment changes: variables, attributes, containers of items."""
    if isinstance(node, ast.Tuple | ast.List):
        return set().union(*(_targets(element) for element in node.elts))
    if isinstance(node, ast.Subscript | ast.Starred):
        return _targets(node.value)
    return {ast.unparse(node)}


def _root(node: ast.expr) -> set[str]:
    """The variable that an expression starts from."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _names(node: ast.AST) -> set[str]:
    """Variables whose value is read: in `f(z.clone(), x.device)` these are `z` and `x.device`."""
    if isinstance(node, ast.Name | ast.Attribute):
        return {ast.unparse(node)}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        inner: list[ast.AST] = [node.func.value, *node.args, *node.keywords]
    else:
        inner = list(ast.iter_child_nodes(node))
    return set().union(*(_names(child) for child in inner))


def training_loops(root: Path) -> list[str]:
    """Where a loss is differentiated and an optimizer steps: `....backward(...)`."""
    return [
        f"{name}:{node.lineno}"
        for name, tree in sources(root, "loopverse", "domains")
        if name != "loopverse/testing.py" and not name.startswith("loopverse/testing/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "backward"
    ]


def plant(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def test_imports_point_one_way() -> None:
    assert wrong_directions(REPOSITORY) == []


def test_domains_use_only_public_names_and_never_each_other() -> None:
    assert borrowed_private_names(REPOSITORY) == []


def test_there_is_one_loop_over_depth() -> None:
    assert set(loops_over_depth(REPOSITORY)) == LOOPS_OVER_DEPTH


def test_there_is_one_training_loop() -> None:
    found = training_loops(REPOSITORY)
    assert len(found) == 1, found
    assert found[0].startswith("loopverse/training/")


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
    (wrong_directions, "loopverse/text/planted.py", "from loopverse.nn import Stack", "imports nn"),
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
        loops_over_depth,
        "domains/loopverse_autoregressive/planted.py",
        "def deeper(core, z, n):\n    for _ in range(n):\n        z = core(z.clone())\n    return z",
        "planted.py:deeper",
    ),
    (
        loops_over_depth,
        "loopverse/nn/planted.py",
        "def deep(layers, z):\n    for i in range(8):\n        for f in layers:\n            z = f(z)",
        "planted.py:deep",
    ),
    (
        loops_over_depth,
        "loopverse/analysis/planted.py",
        "class Probe:\n    def run(self, x):\n        while self.go:\n            y, self.z = self.f(x, self.z)",
        "planted.py:Probe.run",
    ),
    (
        training_loops,
        "loopverse/analysis/planted.py",
        "def fit(model, batches, optimizer):\n    for batch in batches:\n        model(batch).backward()",
        "planted.py:3",
    ),
]


@pytest.mark.parametrize(("guard", "file", "text", "complaint"), PLANTS)
def test_each_guard_finds_its_planted_violation(
    guard: Guard, file: str, text: str, complaint: str, checkout: Path
) -> None:
    before = set(guard(checkout))
    plant(checkout / file, text)
    found = set(guard(checkout)) - before
    assert len(found) == 1
    assert complaint in found.pop()


def test_a_stack_of_layers_is_not_a_loop_over_depth(tmp_path: Path) -> None:
    (tmp_path / "loopverse").mkdir()
    (tmp_path / "loopverse" / "stack.py").write_text(
        "import torch\n"
        "def stack(layers, x, new):\n"
        "    for layer in layers:\n"
        "        x = layer(x)\n"
        "        x = torch.cat([x, new])\n"
        "    return x\n"
    )
    assert loops_over_depth(tmp_path) == []

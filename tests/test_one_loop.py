"""Guards: there is exactly one loop over depth in the repository, and one training loop."""

import ast
import builtins
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from source_code import REPOSITORY, Guard, new_violations, sources

LOOPS_OVER_DEPTH = {
    "loopverse/depth/loop.py:iterate",
    # The recorded steps that define a phantom gradient: no unit is deeper for them.
    "loopverse/depth/gradient.py:Phantom.attach",
}
OTHER_LOOPS = {
    # Power iterations, which ask for a singular value.
    "loopverse/depth/contraction.py:largest_gain",
    "loopverse/nn/lipschitz.py:spectral_bounds",
    # Steps of an environment, each of which thinks once: the outer process of a domain.
    "domains/loopverse_world_model/adapter.py:WorldModel._imagined",
    "domains/loopverse_world_model/evaluation/allocation.py:along",
    "domains/loopverse_world_model/evaluation/forecasting.py:ModelForecaster.begin",
    "domains/loopverse_world_model/evaluation/forecasting.py:follow",
    "domains/loopverse_world_model/evaluation/rollouts.py:_rollouts",
    # A rule that is shown states which are there already.
    "loopverse/testing/halting.py:it_needs_what_it_says",
    # Rooms of a maze, which grow together.
    "domains/loopverse_puzzle/puzzles/maze.py:Maze._trees",
    # Plans that are drawn, valued and drawn nearer to the best.
    "domains/loopverse_world_model/planning/planner.py:Planner.plan",
}
"""What feeds a value back as a loop over depth does, and is none: looked at, one by one."""

COUNTERS = {"range", "enumerate", "count", "repeat", "cycle"}

Loop = ast.For | ast.While


def loops_over_depth(root: Path) -> list[str]:
    """Where a loop feeds a value through the same function again and again: `z = f(z)`.

    Not so: the layers of a stack, where the function is the loop's variable; a fold over a
    collection, `x = f(x, item)`; functions of other libraries and built-in ones.
    """
    return [
        f"{name}:{owner}"
        for name, tree in sources(root, "loopverse", "domains")
        for owner in _loops_over_depth(tree)
    ]


@cache
def _loops_over_depth(tree: ast.Module) -> list[str]:
    """Whose loops these are, in one file."""
    foreign, ranges = _foreign_names(tree), _ranges(tree)
    return [owner for owner, loop in _loops(tree) if _feeds_back(loop, foreign, ranges)]


def training_loops(root: Path) -> list[str]:
    """Where a loss is differentiated, `....backward(...)`; checks of gradients may do so."""
    return [
        f"{name}:{node.lineno}"
        for name, tree in sources(root, "loopverse", "domains")
        if not name.startswith("loopverse/testing")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "backward"
    ]


def test_there_is_one_loop_over_depth() -> None:
    assert set(loops_over_depth(REPOSITORY)) == LOOPS_OVER_DEPTH | OTHER_LOOPS


def test_there_is_one_training_loop() -> None:
    found = training_loops(REPOSITORY)
    assert len(found) == 1, found
    assert found[0].startswith("loopverse/training/")


PLANTS: list[tuple[Guard, str, str]] = [
    (
        loops_over_depth,
        "def deeper(core, z, n):\n    for _ in range(n):\n        z = core(z.clone())\n    return z",
        "planted.py:deeper",
    ),
    (
        loops_over_depth,
        "def deep(layers, z):\n    for i in range(8):\n        for f in layers:\n            z = f(z)",
        "planted.py:deep",
    ),
    (
        loops_over_depth,
        "def steps(step, z):\n    for i in range(8):\n        z = step(z, i)",
        "planted.py:steps",
    ),
    (
        loops_over_depth,
        "class Probe:\n"
        "    def run(self, x):\n"
        "        while self.going:\n"
        "            y, self.z = self.f(x, self.z)",
        "planted.py:Probe.run",
    ),
    (
        training_loops,
        "def fit(model, batches):\n    for batch in batches:\n        model(batch).backward()",
        "planted.py:3",
    ),
]


@pytest.mark.parametrize(("guard", "text", "complaint"), PLANTS)
@pytest.mark.parametrize("folder", ["loopverse/analysis", "domains/loopverse_autoregressive"])
def test_each_guard_finds_its_planted_violation(
    guard: Guard, text: str, complaint: str, folder: str, checkout: Path
) -> None:
    (found,) = new_violations(guard, checkout, f"{folder}/planted.py", text)
    assert complaint in found


@pytest.mark.parametrize(
    "text",
    [
        "def stack(layers, x):\n    for layer in layers:\n        x = layer(x)",
        "def fold(join, x, parts):\n    for part in parts:\n        x = join(x, part)",
        "import torch\ndef grow(x, n):\n    for _ in range(n):\n        x = torch.cat([x, x])",
        "def fresh(f, parts):\n    for part in parts:\n        x = len(part)\n        x = f(x)",
        "def draw(read, x):\n    while True:\n        y = read(x)\n        x = y.to(x.device)",
    ],
    ids=["stack", "fold", "library", "fresh", "device"],
)
def test_what_only_looks_like_a_loop_over_depth_is_left_alone(text: str, tmp_path: Path) -> None:
    assert new_violations(loops_over_depth, tmp_path, "loopverse/planted.py", text) == []


def _loops(tree: ast.Module) -> Iterator[tuple[str, Loop]]:
    """Every loop of a file, with the name of the function, or method, around it."""

    def visit(node: ast.AST, owner: tuple[str, ...]) -> Iterator[tuple[str, Loop]]:
        if isinstance(node, Loop):
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


def _ranges(tree: ast.Module) -> set[str]:
    """Arguments that are declared to be a `range`."""
    return {
        node.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) and node.annotation and ast.unparse(node.annotation) == "range"
    }


def _feeds_back(loop: Loop, foreign: set[str], ranges: set[str]) -> bool:
    own: set[str] = set()
    items: set[str] = set()  # of a collection that is folded, not counted
    if isinstance(loop, ast.For):
        own = _names(loop.target)
        counted = bool(_root(loop.iter) & COUNTERS) or ast.unparse(loop.iter) in ranges
        items = set() if counted else own
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
            same = not _root(call.func) & (foreign | own) and not read & items
            if same and (assigned & read) - fresh:
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

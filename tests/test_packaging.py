"""What is installed: the wheel's content, a quick command line, training outside the checkout."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from source_code import REPOSITORY, sources

HEAVY = ("torch", "tensordict", "accelerate", "torchmetrics", "matplotlib", "tensorboard")


def run(*command: str | Path, cwd: Path, timeout: float = 120) -> str:
    """Run a command without input and return what it printed, both streams together."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with the build backend at hand."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    name = run(sys.executable, "-c", build, folder, cwd=REPOSITORY).split()[-1]
    return folder / name


def test_the_wheel_holds_every_package_type_marker_and_config(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    packages = [REPOSITORY / "loopverse", *(REPOSITORY / "domains").glob("loopverse_*")]
    expected = {
        file.relative_to(package.parent).as_posix()
        for package in packages
        for file in package.rglob("*")
        if file.suffix in (".py", ".html", ".jinja", ".yaml") or file.name == "py.typed"
    }
    expected |= {
        f"loopverse/configs/{file.relative_to(REPOSITORY / 'configs').as_posix()}"
        for file in (REPOSITORY / "configs").rglob("*.yaml")
    }
    assert expected - inside == set()
    assert {f"{package.name}/py.typed" for package in packages} <= inside
    assert "loopverse/configs/train.yaml" in inside
    assert not [name for name in inside if name.startswith(("tests/", "docs/", "domains/"))]


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    always, for_some = (
        {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}
        for requirements in (project["dependencies"], [*extras["text"], *extras["hdf5"]])
    )
    used = set()
    offered = packages_distributions()
    for _, tree in sources(REPOSITORY, "loopverse", "domains"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                )
                names = {module.split(".")[0] for module in modules} - sys.stdlib_module_names
                used |= {offered[name][0].lower() for name in names if name in offered}
    used -= {"loopverse"}
    assert used - always - for_some == set()
    assert always - used == {"tensorboard"}  # which torch imports


def test_the_help_loads_no_heavy_library() -> None:
    script = (
        "import sys\n"
        "from loopverse.cli import main\n"
        "try:\n"
        "    code = main(['--help'])\n"
        "except SystemExit as end:\n"
        "    code = end.code\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not code, code\n"
        "assert not loaded, loaded\n"
    )
    assert "train" in run(sys.executable, "-c", script, cwd=REPOSITORY)


def test_the_help_answers_within_a_second() -> None:
    """Processor time, the best of three: other work on the machine must not fail this."""
    command = [sys.executable, "-m", "loopverse", "--help"]
    used = []
    for _ in range(3):
        before = os.times()
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        after = os.times()
        used.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    assert min(used) < 1.0, used


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_wheel_trains_in_an_empty_environment_outside_the_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    bin_folder = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    run(bin_folder / "python", "-m", "pip", "install", "-q", wheel, cwd=tmp_path, timeout=1000)
    where = "import loopverse, loopverse_autoregressive as a; print(loopverse.__file__, a.__file__)"
    assert str(REPOSITORY) not in run(bin_folder / "python", "-I", "-c", where, cwd=tmp_path)
    few = ("training.steps=4", "training.batch_size=2", "training.valid_batches=1")
    trained = (bin_folder / "loopverse", "train", "name=tiny", "size=tiny", *few)
    printed = run(*trained, cwd=tmp_path, timeout=300)
    assert "bits_per_byte" in printed
    assert (tmp_path / "runs" / "tiny" / "report.html").is_file()

"""`loopverse new`: what it writes is code of this house, and what it refuses leaves nothing behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Command, Refusal
from source_code import REPOSITORY

NAMES = ("protein", "x", "folds_of_proteins_2")


@pytest.mark.parametrize("name", NAMES)
def test_a_package_is_written_with_everything_that_it_needs(
    loopverse: Command, tmp_path: Path, name: str
) -> None:
    answer = loopverse("new", name)
    assert answer.status == 0, answer.err
    written = {
        file.relative_to(tmp_path).as_posix()
        for file in tmp_path.rglob("*")
        if file.is_file() and ".ruff_cache" not in file.parts
    }
    package = f"{name}/loopverse_{name}"
    assert written == {
        f"{name}/README.md",
        f"{name}/pyproject.toml",
        f"{name}/tests/test_{name}.py",
        f"{package}/__init__.py",
        f"{package}/adapter.py",
        f"{package}/config.py",
        f"{package}/configs/domain/{name}.yaml",
        f"{package}/data.py",
        f"{package}/py.typed",
    }
    assert f"loopverse train domain={name}" in answer.out
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_code_as_it_is_here(
    loopverse: Command, tmp_path: Path, name: str
) -> None:
    loopverse("new", name)
    ruff = (sys.executable, "-m", "ruff")
    ours = ("--config", REPOSITORY / "pyproject.toml", "--config", f'src = ["{name}"]')
    rules = ("D101", "D103")  # as in our own tests
    undocumented = [f"--extend-per-file-ignores=**/tests/**:{rule}" for rule in rules]
    for line in (
        (*ruff, "check", "--no-cache", *ours, *undocumented, name),
        (*ruff, "format", "--check", "--no-cache", *ours, name),
        (*ruff, "check", "--no-cache", name),
    ):
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_what_is_written_is_typed(loopverse: Command, tmp_path: Path) -> None:
    loopverse("new", "protein")
    line = (sys.executable, "-m", "pyright", "--warnings", "--pythonpath", sys.executable)
    settings = {"extraPaths": ["protein", str(REPOSITORY)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        (*line, "-p", "pyrightconfig.json"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_another_place_is_where_it_says(loopverse: Command, tmp_path: Path) -> None:
    place = tmp_path / "my work"
    place.mkdir()
    answer = loopverse("new", "protein", "--path", str(place))
    assert (place / "protein" / "pyproject.toml").exists()
    assert f"pip install -e '{place}/protein'" in answer.out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("2fold",), "got '2fold'"),
        (("my-domain",), "got 'my-domain'"),
        (("../up",), "got '../up'"),
        (("Protein",), "got 'Protein'"),
        (("class",), "no keyword of Python, such as protein_folds, got 'class'"),
        (("",), "got ''"),
        ((), "the following arguments are required: NAME"),
        (("toy",), "there is a domain 'toy' already: choose another name"),
        (("train",), "there is a command 'train' already"),
        (("json",), "there is a module 'json' already"),
        (("loopverse",), "there is a module 'loopverse' already"),
        (
            ("protein", "--path", "file"),
            "there is no folder file: make it, or choose another --path",
        ),
        (("protein", "--path", "nowhere"), "there is no folder nowhere: make it"),
        (("protein", "--paht", "."), "did you mean --path?"),
        (("taken",), "taken exists already"),
        (("lost",), "lost exists already"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line_and_leaves_nothing(
    refusal: Refusal, tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "lost").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    assert complaint in refusal("new", *words)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_the_name_elsewhere_is_no_module(loopverse: Command, tmp_path: Path) -> None:
    (tmp_path / "protein").mkdir()
    (tmp_path / "there").mkdir()
    assert loopverse("new", "protein", "--path", "there").status == 0


def test_what_is_stopped_half_way_leaves_nothing(
    loopverse: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = Path.write_text, []

    def stopped(self: Path, *arguments: str, **options: str) -> int:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(self)
        return write(self, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", stopped)
    assert loopverse("new", "protein").status == 130
    assert len(written) == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_new_domain_goes_all_the_way_with_no_edit(tmp_path: Path) -> None:
    """Written, installed, checked, trained, diagnosed, compared, stopped early: as a stranger would."""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "COLUMNS": "200"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("loopverse", "new", "protein")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir")
    run("pip", "install", *options, "--target", "installed", "./protein")
    assert "keeps the contract" in run("loopverse", "check", "protein")
    run("loopverse", "train", "domain=protein", "name=first")
    assert "→ run it with" in run("loopverse", "diagnose", "runs/first", "--samples", "128")
    assert "fixed_point" in run("loopverse", "evaluate", "runs/first", "halting=fixed_point")
    few = ("loops=[1,2]", "untied=[2]", "seeds=[0,1]", "rates=[1.0]", "settings=[training.steps=5]")
    assert "protein" in run("loopverse", "compare", "study=quick", "domains=[protein]", *few)
    assert " passed" in run("pytest", "-q", "-p", "no:cacheprovider", "protein/tests")

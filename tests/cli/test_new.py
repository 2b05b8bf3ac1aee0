"""`loopverse new NAME`: a package that keeps the contract as it is written, or nothing at all."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Command, Refusal
from source_code import REPOSITORY

from loopverse.testing import check_domain


def test_a_package_is_written_and_says_what_to_type_next(
    loopverse: Command, tmp_path: Path
) -> None:
    answer = loopverse("new", "protein")
    assert answer.status == 0, answer.err
    for line in ("pip install -e protein", "loopverse check protein", "loopverse diagnose runs"):
        assert line in answer.out
    package = tmp_path / "protein"
    assert 'protein = "protein:Protein"' in (package / "pyproject.toml").read_text()
    assert (package / "src" / "protein" / "py.typed").read_text() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["protein"]
    assert not [path for path in package.rglob("*") if path.is_file() and "{{" in path.read_text()]


def test_what_is_written_keeps_the_contract(
    loopverse: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loopverse("new", "of_two_words", "--path", "deep/down").status == 0
    monkeypatch.syspath_prepend(tmp_path / "deep" / "down" / "of_two_words" / "src")
    module = importlib.import_module("of_two_words")
    assert check_domain(module.OfTwoWords, module.OfTwoWordsConfig(length=16, held_out=64)).passed


def test_what_is_written_is_in_our_own_style(loopverse: Command, tmp_path: Path) -> None:
    assert loopverse("new", "protein").status == 0
    ruff = [sys.executable, "-m", "ruff"]
    style = [
        "--config",
        str(REPOSITORY / "pyproject.toml"),
        "--no-cache",
        str(tmp_path / "protein"),
    ]
    subprocess.run([*ruff, "format", "--check", *style], check=True)
    # Which imports are its own and which tests need no docstring depends on where it lies.
    subprocess.run([*ruff, "check", "--ignore", "I001,D103,INP001", *style], check=True)


def test_sequences_of_a_file_are_read_and_too_few_refused(
    loopverse: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loopverse("new", "lines_of_text").status == 0
    monkeypatch.syspath_prepend(tmp_path / "lines_of_text" / "src")
    module = importlib.import_module("lines_of_text")
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(f"line {n}" for n in range(100)))
    domain = module.LinesOfText(module.LinesOfTextConfig(file=str(file), held_out=8), 16)
    train = next(domain.batches("train", batch_size=50, seed=0))["next"][:, :4]
    assert {bytes(row).decode() for row in train.tolist()} == {"line"}
    file.write_text("only one\n")
    module.data.read.cache_clear()
    with pytest.raises(ValueError, match="has 1 lines, of which"):
        next(domain.batches("train", batch_size=2, seed=0))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("1st", "named like a module of Python, letters, digits and _, got '1st'"),
        ("class", "named like a module of Python"),
        ("prot-ein", "named like a module of Python"),
        ("Protein", "use 'protein'"),
        ("torch", "there is a module 'torch' already"),
        ("sys", "there is a module 'sys' already"),
        ("toy", "there is a domain 'toy' already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    refusal: Refusal, tmp_path: Path, name: str, line: str
) -> None:
    assert line in refusal("new", name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "protein").mkdir()
    assert "protein exists: choose another name" in refusal("new", "protein")
    assert not list((tmp_path / "protein").iterdir())


def test_a_place_that_cannot_be_written_to_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal("new", "protein", "--path", "file")


def test_nothing_is_left_of_a_package_that_was_interrupted(
    loopverse: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)
    assert loopverse("new", "protein").status == 130
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

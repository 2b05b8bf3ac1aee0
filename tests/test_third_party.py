"""Strangers' packages, installed in a folder of their own: one that works, one that is broken."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml

from loopverse import registry

STRANGERS = Path(__file__).resolve().parent / "third_party"


class Shell:
    """Runs commands where the strangers are installed.

    Args:
        installed: the folder they are installed in.
        here: the folder to run in.
    """

    def __init__(self, installed: Path, here: Path) -> None:
        self.here = here
        self._environment = {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200"}

    def python(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=self.here,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    def loopverse(self, *arguments: str) -> str:
        """What a command printed, given that it went well."""
        done = self.python("-m", "loopverse", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    installed, here = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("here")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir")
    packages = (STRANGERS / "loopverse-parity", STRANGERS / "loopverse-broken")
    shell = Shell(installed, here)
    done = shell.python("-m", "pip", "install", *options, "--target", installed, *packages)
    assert done.returncode == 0, done.stderr
    return shell


@pytest.fixture(scope="module")
def run(shell: Shell) -> Path:
    """A run of the stranger's domain, a few steps long."""
    shell.loopverse(
        *("train", "domain=parity", "domain.length=8", "name=parity"),
        *("training.steps=3", "training.valid_batches=1", "training.trackers=[]"),
    )
    return shell.here / "runs" / "parity"


def test_an_installed_domain_is_listed_and_none_is_imported(shell: Shell) -> None:
    listed = shell.loopverse("domains")
    assert "loopverse_parity:Parity (loopverse-parity 0.1.0)" in listed
    assert "loopverse_broken:Broken (loopverse-broken 0.1.0)" in listed
    assert "broken, there is no package loopverse_missing" in listed


def test_an_installed_domain_trains_with_the_defaults_that_it_ships(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    choices = yaml.safe_load((run / "choices.yaml").read_text(encoding="utf-8"))
    assert (config["domain"]["length"], config["training"]["batch_size"]) == (8, 64)
    assert (choices["domain"], choices["schedule"], choices["size"]) == (
        "parity",
        "uniform",
        "tiny",
    )
    assert "bits_per_answer" in (run / "summary.json").read_text(encoding="utf-8")


def test_an_installed_domain_samples(shell: Shell, run: Path) -> None:
    told = shell.loopverse("sample", str(run), "--prompt", "1011", "--prompt", "11")
    assert [len(line) for line in told.splitlines() if "->" in line] == [12, 8]


def test_an_installed_domain_passes_every_check(shell: Shell) -> None:
    assert "keeps the contract" in shell.loopverse("check", "parity")


def test_the_strangers_own_tests_pass(shell: Shell) -> None:
    shutil.copytree(STRANGERS / "loopverse-parity" / "tests", shell.here / "tests")
    done = shell.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests")
    assert done.returncode == 0, done.stdout


def test_a_broken_domain_is_refused_in_one_line(shell: Shell) -> None:
    expected = {
        "broken": "does not import (RuntimeError: this plug-in needs a telescope)",
        "missing": "does not import (ModuleNotFoundError: No module named 'loopverse_missing')",
        "stray": "must be a subclass of loopverse.DomainAdapter, got",
        "parit": "unknown domain 'parit'; did you mean 'parity'?",
    }
    done = shell.python(
        "-c",
        "from loopverse.cli import main\n"
        f"print([main(['check', name]) for name in {list(expected)}])",
    )
    assert done.stdout == f"{[2] * len(expected)}\n", done.stderr
    for line, complaint in zip(done.stderr.splitlines(), expected.values(), strict=True):
        assert line.startswith("loopverse: ")
        assert complaint in line


def test_a_name_claimed_twice_warns_and_the_first_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (
        EntryPoint("walk", f"{package}:Walk", registry.GROUP) for package in ("one", "two")
    )
    installed = {registry.GROUP: [first, second]}
    monkeypatch.setattr(registry, "entry_points", lambda group: installed[group])
    with pytest.warns(UserWarning, match="two packages offer the domain 'walk': using one:Walk"):
        assert registry.domain_entry_points() == {"walk": first}

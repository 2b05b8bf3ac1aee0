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
    shell = Shell(installed, here)
    shell.loopverse("new", "newcomer")
    packages = (
        STRANGERS / "loopverse-parity",
        STRANGERS / "loopverse-broken",
        here / "newcomer",
    )
    done = shell.python("-m", "pip", "install", *options, "--target", installed, *packages)
    assert done.returncode == 0, done.stderr
    return shell


@pytest.fixture(scope="module")
def told(shell: Shell) -> str:
    """What training the stranger's domain for a few steps printed."""
    return shell.loopverse(
        *("train", "domain=parity", "domain.length=8", "name=parity"),
        *("training.steps=3", "training.valid_batches=1", "training.trackers=[]"),
    )


@pytest.fixture(scope="module")
def run(shell: Shell, told: str) -> Path:
    """The run folder of that training."""
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


def test_a_domain_that_was_just_written_trains_checks_and_stops_early_as_it_is(
    shell: Shell,
) -> None:
    few = "training.steps=2 training.batch_size=4 training.valid_batches=1 training.trackers=[]"
    lines = [
        f"train domain=newcomer name=newcomer {few}",
        "check newcomer domain.examples=200 domain.held_out=20",
        "evaluate runs/newcomer --loops 1,2",
        "evaluate runs/newcomer --loops 2 halting=fixed_point halting.tolerance=0.7",
        "new newcomer --path runs",
    ]
    code = f"from loopverse.cli import main\nprint([main(line.split()) for line in {lines}])"
    done = shell.python("-c", code)
    assert done.stdout.endswith("[0, 0, 0, 0, 2]\n"), done.stdout + done.stderr
    assert "keeps the contract" in done.stdout
    assert "there is a domain 'newcomer' already" in done.stderr


def test_the_tests_of_a_domain_that_was_just_written_pass(shell: Shell) -> None:
    tests = shell.here / "newcomer" / "tests"
    done = shell.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", tests)
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


def test_an_installed_command_is_listed_with_what_its_source_says_and_not_imported(
    shell: Shell,
) -> None:
    code = (
        "import sys; from loopverse.cli import main; status = main(['--help']); "
        "sys.exit(status or int('loopverse_parity' in sys.modules or 'torch' in sys.modules))"
    )
    done = shell.python("-c", code)
    assert done.returncode == 0, done.stderr
    assert "Show where in a row the answers go wrong, from loopverse-parity" in done.stdout
    assert "lost      broken, there is no package loopverse_missing" in done.stdout
    assert "shatter   from loopverse-broken" in done.stdout
    assert done.stdout.count("  report ") == 1  # ours wins


def test_an_installed_command_is_completed_and_not_imported(shell: Shell) -> None:
    code = (
        "import os, sys; os.environ['COMP_LINE'] = 'loopverse pl'; from loopverse.cli import main; "
        "status = main(['-sc', 'query=bash']); sys.exit(status or int('torch' in sys.modules))"
    )
    done = shell.python("-c", code)
    assert (done.returncode, done.stdout) == (0, "places plan\n"), done.stderr


def test_an_installed_command_runs(shell: Shell, run: Path) -> None:
    told = shell.loopverse("places", str(run), "--loops", "1,3")
    assert "Wrong answers by place" in told
    rows = [line.split()[0] for line in told.splitlines() if line[:7].strip().isdecimal()]
    assert rows == ["1", "3"]


def test_what_an_installed_domain_shows_and_suggests_ends_its_training(
    told: str, run: Path
) -> None:
    assert "Wrong answers by place" in told
    assert "  # see where answers go wrong\n  loopverse places runs/parity --loops 1,2,4,8" in told
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Wrong answers by place" in page


def test_where_the_loops_of_an_installed_domain_went_is_shown_without_code_of_its_own(
    shell: Shell, run: Path
) -> None:
    source = (STRANGERS / "loopverse-parity/loopverse_parity/__init__.py").read_text("utf-8")
    assert "def allocation" not in source
    assert "def difficulties" not in source
    rule = ("halting=fixed_point", "halting.tolerance=0.7")
    told = shell.loopverse("evaluate", str(run), "--loops", "1,2,4", *rule)
    ways = [line.split()[0] for line in told.splitlines()[2:6]]
    assert ways == ["1", "2", "4", "fixed_point"]
    for title in ("Loops of a unit", "Rank correlation of loops with difficulty", "Loops by diff"):
        assert title in told
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Where the loops went" in page
    assert "Loops of single units" in page


def test_rules_are_calibrated_for_an_installed_domain_without_code_of_its_own(
    shell: Shell, run: Path
) -> None:
    bound = ("--max-increase", "50%", "--batches", "4")
    told = shell.loopverse(
        "calibrate", str(run), "--loops", "4", *bound, "--rules", "fixed_point,confidence"
    )
    for way in ("1 loop", "4 loops", "fixed_point", "confidence"):
        assert way in told
    assert (run / "calibration.json").exists()


def test_a_broken_command_or_a_mistake_in_one_is_one_line(shell: Shell) -> None:
    expected = {
        "shatter": "does not import (RuntimeError: this plug-in needs a telescope)",
        "lost": "does not import (ModuleNotFoundError: No module named 'loopverse_missing')",
        "stone": "must be a function of a list of words, got 'not a function'",
        "silent": "must return its exit status, a whole number, got None",
        "place": "unknown command 'place'; did you mean 'places'?",
        "places runs/nowhere": "there is no run folder runs/nowhere",
        "places --loop 1": "unknown option --loop; did you mean --loops?",
    }
    done = shell.python(
        "-c",
        f"from loopverse.cli import main\nprint([main(line.split()) for line in {list(expected)}])",
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

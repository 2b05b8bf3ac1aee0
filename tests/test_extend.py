"""The guide to a domain of one's own: what is printed there is done here, file by file, line by line."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from source_code import REPOSITORY

PAGE = (REPOSITORY / "docs" / "extend.md").read_text(encoding="utf-8")
FILE = re.compile(
    r"^<!-- not run: file (?P<path>\S+) -->\n```python\n(?P<code>.*?)^```\n", re.M | re.S
)
FILES = {match["path"]: match["code"] for match in FILE.finditer(PAGE)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the guide, written, filled and installed."""
    here = tmp_path_factory.mktemp("guide")
    run(here, "loopverse", "new", "sunspots")
    package = here / "sunspots"
    for path, code in FILES.items():
        (package / path).write_text(code, encoding="utf-8")
    shutil.copy(REPOSITORY / "docs" / "assets" / "sunspots.csv", package / "src" / "sunspots")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir")
    run(here, "pip", "install", *options, "--target", "installed", "./sunspots")
    return here


def run(here: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(here / "installed"), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_guide_is_shorter_than_it_says() -> None:
    assert sum(len(code.splitlines()) for code in FILES.values()) < 150
    assert len(FILES) == 3


def test_the_domain_of_the_guide_is_checked_and_trained(installed: Path) -> None:
    assert "keeps the contract" in run(installed, "loopverse", "check", "sunspots")
    few = ("training.steps=20", "training.batch_size=8", "training.trackers=[]")
    run(installed, "loopverse", "train", "domain=sunspots", "name=sun", *few)
    assert "error_sunspots" in (installed / "runs" / "sun" / "summary.json").read_text()


@pytest.mark.slow
def test_every_line_of_the_guide_runs(installed: Path) -> None:
    """As printed, and the sun is foreseen better than by the year before."""
    lines = re.findall(r"^loopverse (?!new)(.*)$", PAGE, re.M)
    assert len(lines) == 6
    told = [run(installed, "loopverse", *line.split()) for line in lines]
    error = float(re.search(r"error_sunspots\D+([\d.]+)", told[1])[1])  # type: ignore[index]
    assert error < 30  # that of the year before is 32.8
    assert "→ run it with" in told[4]

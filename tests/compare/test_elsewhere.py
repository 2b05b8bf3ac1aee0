"""Studies of a real domain in processes of their own: killed at any moment, or spread by another launcher."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

SAME = (
    "group",
    "arm",
    "seed",
    "rate",
    "steps",
    "state",
    "value",
    "parameters",
    "training_flops",
    "folder",
)
KILLS = 10


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    content = {
        "domains": ["autoregressive"],
        "loops": [1, 2],
        "untied": [2],
        "seeds": [0, 1],
        "rates": [0.5, 1.0],
        "sizes": ["tiny"],
        "settings": [
            *("training.steps=8", "training.evaluate_every=4", "training.checkpoint_every=2"),
            *("training.valid_batches=2", "training.batch_size=2", "domain.context=64"),
        ],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    return [sys.executable, "-m", "loopverse", "compare", f"study={tmp_path / 'mine.yaml'}"]


def table(folder: Path) -> list[dict[str, Any]]:
    with (folder / "runs.csv").open(newline="") as file:
        return [{name: row[name] for name in SAME} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_joblib_on_two_processes_makes_the_same_table(command: list[str], tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    subprocess.run([*command, "--folder", "here"], cwd=tmp_path, check=True)
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    subprocess.run([*command, "--folder", "there", *joblib], cwd=tmp_path, check=True)
    assert table(tmp_path / "there") == table(tmp_path / "here")


@pytest.mark.slow
def test_what_joblib_started_ends_with_its_study_and_is_gone_on_with(
    command: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    subprocess.run([*command, "--folder", "here"], cwd=tmp_path, check=True)
    joblib = [*command, "--folder", "there", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    with subprocess.Popen(joblib, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        while not list((tmp_path / "there" / "runs").glob("*/run.json")):
            time.sleep(0.1)
        process.kill()  # it alone
        assert process.stdout is not None
        process.stdout.read()  # ends when all that hold it have ended
    subprocess.run(joblib, cwd=tmp_path, check=True)
    assert table(tmp_path / "there") == table(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_study_that_is_killed_again_and_again_makes_the_same_table(
    command: list[str], tmp_path: Path
) -> None:
    began = time.monotonic()
    subprocess.run([*command, "--folder", "whole"], cwd=tmp_path, check=True)
    whole, rng = time.monotonic() - began, random.Random(0)
    finished: dict[Path, int] = {}
    for _ in range(KILLS):
        process = subprocess.Popen(
            [*command, "--folder", "parts"], cwd=tmp_path, start_new_session=True
        )
        time.sleep(
            rng.uniform(0.3 * whole, 0.6 * whole) if rng.random() < 0.5 else rng.uniform(0, 8)
        )
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for summary in (tmp_path / "parts" / "runs").glob("*/summary.json"):
            known = finished.setdefault(summary, summary.stat().st_mtime_ns)
            assert summary.stat().st_mtime_ns == known, "made twice"
    subprocess.run([*command, "--folder", "parts"], cwd=tmp_path, check=True)
    assert table(tmp_path / "parts") == table(tmp_path / "whole")
    assert len(list((tmp_path / "parts" / "runs").glob("*/summary.json"))) == 12

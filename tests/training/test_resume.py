"""Killed at any moment, a run goes on to the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


def kill(folder: Path, kills: int, seed: int) -> dict:
    program = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [sys.executable, program, folder, str(kills), str(seed)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(900)  # it waits for disks and for new processes
@pytest.mark.parametrize(
    ("kills", "seed"),
    [(2, 0), pytest.param(20, 1, marks=pytest.mark.slow)],
)
def test_killed_runs_end_bit_identical_to_one_that_was_left_alone(
    tmp_path: Path, kills: int, seed: int
) -> None:
    report = kill(tmp_path, kills, seed)
    assert report["different"] == []
    assert report["kills"] == kills
    assert report["in_writing"] >= kills // 4

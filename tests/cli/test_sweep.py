"""`loopverse train -m`: a folder for every job, and none that stops another."""

import json
from pathlib import Path

import pytest
import yaml
from commands import QUICK, Command

from loopverse.cli import train as cli


def test_a_sweep_gives_every_job_a_folder_and_holds_them_against_each_other(
    loopverse: Command, tmp_path: Path
) -> None:
    answer = loopverse("train", "-m", "name=depths", *QUICK, "core.loops=1,2", "seed=0,1")
    assert answer.status == 0, answer.err
    sweep = tmp_path / "runs" / "depths"
    names = ["0-core.loops=1,seed=0", "1-core.loops=1,seed=1", "2-core.loops=2,seed=0"]
    names.append("3-core.loops=2,seed=1")
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == names
    for name in names:
        config = yaml.safe_load((sweep / name / "config.yaml").read_text())
        assert f"core.loops={config['core']['loops']},seed={config['seed']}" in name
        assert (sweep / name / "report.html").exists()
    table = answer.out[answer.out.index("of the sweep") :]
    assert [line.split()[-1] for line in table.splitlines()[1:5]] == [
        f"runs/depths/{name}" for name in names
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    values = [json.loads((sweep / name / "summary.json").read_text())["value"] for name in names]
    assert len(set(values)) == 4


def test_a_job_that_fails_stops_no_other(
    loopverse: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "s" / "0-seed=0").mkdir(parents=True)
    (tmp_path / "runs" / "s" / "0-seed=0" / "taken").touch()
    answer = loopverse("train", "-m", "name=s", *QUICK, "seed=0,1")
    assert answer.status == 2
    assert "loopverse: 0-seed=0: runs/s/0-seed=0 exists and is not a run folder" in answer.err
    assert (tmp_path / "runs" / "s" / "1-seed=1" / "summary.json").exists()


def test_a_bug_in_a_job_shows_its_traceback_and_stops_no_other(
    loopverse: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []

    def train(config, reporter):
        seeds.append(config.seed)
        raise RuntimeError(f"a bug with {config.seed}")

    monkeypatch.setattr(cli, "train", train)
    answer = loopverse("train", "-m", *QUICK, "seed=0,1")
    assert answer.status == 1
    assert seeds == [0, 1]
    assert "RuntimeError: a bug with 0" in answer.err
    assert "RuntimeError: a bug with 1" in answer.err


def test_a_signal_stops_the_whole_sweep(loopverse: Command, stopped: list[int]) -> None:
    assert loopverse("train", "-m", *QUICK, "seed=0,1,2").status == 130
    assert stopped == [0]

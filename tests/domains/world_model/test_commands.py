"""`loopverse plan` and `loopverse solve`: what they play, keep, go on with and refuse."""

import json
import os
import signal
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from domains.world_model.toys import TOY
from safetensors.torch import load_file

from loopverse import compose, train
from loopverse.model import LoopedModel
from loopverse.training import Stopped, loop
from loopverse_world_model.commands import plan, solve
from loopverse_world_model.planning import ICEM, CategoricalCEM
from loopverse_world_model.planning.settings import is_planning, read_planner

QUICK = ["horizon=2", "candidates=4", "iterations=1", "elites=2"]
SMALL = [
    *("core.width=16", "core.loops=1", "training.batch_size=4", "training.valid_batches=1"),
    *("training.trackers=[]", "schedule=constant"),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A model of a toy, trained for a moment."""
    words = ["domain=world_model", f"domain.env={TOY}", "domain.transitions=60", "domain.horizon=2"]
    words += [*SMALL, "training.steps=2", f"runs={tmp_path}", "name=toy"]
    return train(compose(words)).folder.path


def test_a_plan_is_played_kept_and_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.command([str(run), "--episodes", "3", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "planned" in said
    assert "random" in said
    assert "no video" in said  # a toy draws nothing
    kept = json.loads((run / "plan.json").read_text())
    assert len(kept["returns"]) == len(kept["random_returns"]) == 3
    assert kept["planner"]["name"] == "CategoricalCEM"
    assert kept["planner"]["candidates"] == 4
    again = plan.command([str(run), "--episodes", "3", *QUICK])
    assert again == 0
    assert json.loads((run / "plan.json").read_text())["returns"] == kept["returns"]


def test_a_plan_stops_early_where_a_rule_says_so(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    depths, bind = [], LoopedModel.bind
    monkeypatch.setattr(
        LoopedModel,
        "bind",
        lambda self, depth, **how: bind(
            self, depth, **how, observe=lambda result: depths.append(int(result.depth.max()))
        ),
    )
    words = [str(run), "--episodes", "1", "--no-video", "--loops", "3", *QUICK]
    fixed = ["halting=fixed_point", "halting.tolerance=1e9"]
    nested = ["halting=any_of", "halting.rules=[{halting: fixed_point, tolerance: 1e9}]"]
    for rule in ([], fixed, nested):
        depths.clear()
        assert plan.command([*words, *rule]) == 0
        assert set(depths) == ({1} if rule else {3})
        kept = json.loads((run / "plan.json").read_text())["halting"]
        assert kept.startswith(rule[0] if rule else "halting=fixed_depth")


def test_a_run_is_played_in_where_its_data_are_gone(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(config: object) -> None:
        raise AssertionError("the data are asked for")

    monkeypatch.setattr("loopverse_world_model.sources.open_source", gone)
    env = gymnasium.make("loopverse/World-v0", run=run)
    observation, _ = env.reset(seed=0)
    kept = load_file(run / "assets" / "beginnings.safetensors")["value"]
    assert any(np.array_equal(observation, first) for first in kept.numpy())
    env.step(env.action_space.sample())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["planner=icem"], "ICEM chooses numbers, and the actions are categories"),
        (["planner=cme"], "did you mean"),
        (["halting=calibrated"], "`loopverse calibrate .*toy` comes first"),
        (["horizons=3"], "did you mean 'horizon'"),
        (["horizon=long"], "horizon must be a whole number, got 'long'"),
        (["--env", "Pendulum-v1"], "Pendulum-v1 has another observation space than the run"),
        (["--episodes", "0"], "--episodes must be at least 1"),
    ],
)
def test_what_cannot_be_planned_is_refused(run: Path, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan.command([str(run), *words])


def test_a_run_of_another_domain_is_refused(tmp_path: Path, corpus: Path) -> None:
    words = [f"domain.corpus={corpus}", "domain.context=16", "core.width=16", "core.num_heads=2"]
    words += ["training.steps=1", "training.batch_size=2", "training.valid_batches=1"]
    other = train(compose([*words, "training.trackers=[]", f"runs={tmp_path}", "name=text"]))
    with pytest.raises(
        ValueError, match="is a run of Autoregressive, expected one of a world model"
    ):
        plan.command([str(other.folder.path)])


def test_solving_collects_trains_and_plans_in_turn_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [TOY, "--runs", str(tmp_path), "--name", "toy", "--start", "30", "--steps", "2"]
    words += ["--episodes", "2", "--iterations", "3", *SMALL, *QUICK]
    assert solve.command(words) == 0
    folder = tmp_path / "toy"
    rows = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert [row["round"] for row in rows] == [0, 1, 2]
    assert [row["episodes"] - rows[0]["episodes"] for row in rows] == [0, 1, 2]
    assert rows[0]["steps"] >= 30
    assert [len(row.get("returns", [])) for row in rows] == [0, 0, 2]
    assert "not reached" in capsys.readouterr().out
    # As if it had been killed after its second round: the third is the same again.
    (folder / "progress.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    assert solve.command([str(folder)]) == 0
    again = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert np.allclose(again[2]["returns"], rows[2]["returns"])
    assert again[2]["steps"] == rows[2]["steps"]


def test_ctrl_c_in_a_training_ends_it_all_and_it_goes_on_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [TOY, "--runs", str(tmp_path), "--start", "30", "--steps", "3", *SMALL, *QUICK]
    words += ["--episodes", "2", "--iterations", "2"]
    assert solve.command([*words, "--name", "whole"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_draw_depth", lambda *_: os.kill(os.getpid(), signal.SIGINT) or 1)
        with pytest.raises(Stopped):
            solve.command([*words, "--name", "toy"])
    folder = tmp_path / "toy"
    assert f"this goes on:\n  loopverse solve {folder}\n" in capsys.readouterr().out
    assert not (folder / "progress.jsonl").exists()
    assert solve.command([str(folder)]) == 0
    rows = [
        json.loads((tmp_path / name / "progress.jsonl").read_text().splitlines()[-1])
        for name in ("whole", "toy")
    ]
    assert rows[0]["returns"] == rows[1]["returns"]


def test_a_target_that_is_reached_ends_it(tmp_path: Path) -> None:
    words = [TOY, "--runs", str(tmp_path), "--name", "toy", "--start", "30", "--steps", "1"]
    words += ["--episodes", "1", "--target", "-1000", *SMALL, *QUICK]
    assert solve.command(words) == 0
    assert len((tmp_path / "toy" / "progress.jsonl").read_text().splitlines()) == 2
    with pytest.raises(ValueError, match="is there already"):
        solve.command(words)


def test_solving_refuses_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="CartPole-v1"):
        solve.command(["CartPol-v1", "--runs", str(tmp_path)])
    with pytest.raises(ValueError, match="--start must be at least 1"):
        solve.command([TOY, "--runs", str(tmp_path), "--start", "0"])
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"] or not list(tmp_path.iterdir())


def test_settings_of_planners_are_told_from_settings_of_training() -> None:
    words = ["planner=cem", "horizon=3", "core.loops=2", "training.steps=5", "momentum=0.2"]
    assert [is_planning(word) for word in words] == [True, True, False, False, True]
    planner = read_planner(["horizon=3", "discount=1"], None)
    assert isinstance(planner, ICEM)
    assert planner.horizon == 3
    assert isinstance(read_planner([], (2,)), CategoricalCEM)
    with pytest.raises(ValueError, match="given twice"):
        read_planner(["horizon=3", "horizon=4"], None)

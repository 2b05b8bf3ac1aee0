"""How the state moves in each loop, logged while training goes on."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from loopverse.domain import Split
from loopverse.model import LoopedModel
from loopverse.training import Run, build_model, train
from loopverse.training import session as sessions
from loopverse.training.probe import loop_figures


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return train(toy.toy_config(tmp_path, trackers=["tensorboard"]))


def test_every_evaluation_is_followed_by_a_look_at_the_loops(run: Run) -> None:
    rows = run.folder.rows.read("loops")
    assert [row["step"] for row in rows] == [3, 6]
    for row in rows:
        assert {"change_1", "change_2", "turn_2", "rank_1", "rank_2"} <= set(row)
        assert "turn_1" not in row
        assert -1 <= row["turn_2"] <= 1 <= row["rank_1"] <= 16
        assert all(math.isfinite(row[name]) for name in row if name != "split")


def test_tensorboard_shows_it(run: Run) -> None:
    events = EventAccumulator(str(run.folder.path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loops/turn_2")] == [3, 6]


def test_looking_changes_nothing_that_is_learned(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "loop_figures", lambda *_, **__: {})
    other = train(toy.toy_config(tmp_path / "other"))
    (ours, theirs) = (one.folder.best() for one in (run, other))
    assert ours is not None
    assert theirs is not None
    for name, weight in load_file(ours / "model.safetensors").items():
        assert torch.equal(weight, load_file(theirs / "model.safetensors")[name]), name


def test_the_figures_are_those_of_the_states(tmp_path: Path) -> None:
    """Held against the states that the loop itself keeps."""
    model = build_model(toy.toy_config(tmp_path)).eval()
    figures = loop_figures(model, 3, batch_size=4, precision="fp32")
    states = states_of(model, 3)
    for loop in (2, 3):
        before, after = states[loop - 2], states[loop - 1]
        change = ((after - before).norm(dim=-1) / after.norm(dim=-1)).mean()
        assert figures[f"change_{loop}"] == pytest.approx(float(change), rel=1e-4)
    moves = states[2] - states[1], states[1] - states[0]
    assert figures["turn_3"] == pytest.approx(
        float(torch.cosine_similarity(*moves, dim=-1).mean()), rel=1e-4
    )


def test_without_held_out_data_there_is_nothing_to_see(tmp_path: Path) -> None:
    class Empty(toy.Toy):
        def batches(self, split: Split, **settings: Any) -> Any:
            return iter(())

    config = toy.toy_config(tmp_path)
    model = LoopedModel(Empty(toy.ToyConfig(), config.core.width), config.core)
    assert loop_figures(model, 2, batch_size=4, precision="fp32") == {}


@torch.no_grad()
def states_of(model: LoopedModel, depth: int) -> list[torch.Tensor]:
    batch = next(model.adapter.batches("valid", batch_size=4, seed=0))
    states: list[torch.Tensor] = []
    think = model.bind(depth, tap=lambda _, z: states.append(z))
    model.adapter(think, batch)
    return states

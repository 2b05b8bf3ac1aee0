"""The puzzle domain as a model: segments, metrics, what it shows and solves."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.distributions import Categorical

from loopverse import compose, train
from loopverse.domain import SampleSettings
from loopverse.exhibit import HeatMap
from loopverse.model import LoopedModel
from loopverse.nn import Attend, CoreConfig, CoreInput, Normal, Scaled
from loopverse_puzzle import Puzzle, PuzzleConfig


def model(**changes: Any) -> LoopedModel:
    torch.manual_seed(0)
    core = CoreConfig(
        width=16,
        num_heads=2,
        num_prelude=0,
        num_coda=0,
        loops=2,
        injection=Scaled(),
        init=Normal(),
    )
    return LoopedModel(Puzzle(PuzzleConfig(**{"held_out": 12, **changes}), core.width), core)


@torch.no_grad()
def test_a_segment_goes_on_where_the_last_one_stopped() -> None:
    """Two segments of two loops are four loops."""
    once, twice = model(segments=1).eval(), model(segments=2).eval()
    batch = next(once.adapter.batches("valid", batch_size=4, seed=0))
    four = once.adapter(once.bind(4), batch)
    parts = twice.adapter(twice.bind(2), batch)
    torch.testing.assert_close(parts.losses, four.losses)
    assert parts.depth is not None
    assert parts.depth.unique().tolist() == [4]


def test_every_segment_has_a_loss_and_no_gradient_leads_from_one_to_the_next() -> None:
    once, twice = model(segments=1), model(segments=2)
    batch = next(once.adapter.batches("train", batch_size=4, seed=0))
    short = once.adapter(once.bind(2), batch).losses
    long = twice.adapter(twice.bind(2), batch).losses
    with torch.no_grad():
        second = once.eval().adapter(once.bind(4), batch).losses
    torch.testing.assert_close(long, (short + second) / 2)
    long.sum().backward()
    grads = [p.grad.clone() for p in twice.parameters() if p.grad is not None]
    twice.zero_grad()
    thought = twice.bind(2)(twice.adapter.embed(batch))
    first = twice.adapter.loss(twice.adapter.predict(thought.z), batch).losses
    again = twice.bind(2)(twice.adapter.embed(batch), carry=thought.result.z.detach())
    last = twice.adapter.loss(twice.adapter.predict(again.z), batch).losses
    ((first + last) / 2).sum().backward()
    for ours, theirs in zip(
        grads, [p.grad for p in twice.parameters() if p.grad is not None], strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def test_a_carried_state_is_all_that_an_element_knows_of_those_before_it() -> None:
    made = model(kind="a5", length=4, longer=0, carried=True).eval()
    batch = next(made.adapter.batches("valid", batch_size=3, seed=0))
    outcome = made.adapter(made.bind(2), batch)
    x, state, logits = made.adapter.embed(batch).x, None, []
    for place in range(4):
        inputs = CoreInput(x[:, place : place + 1], Attend(causal=True))
        thought = made.bind(2)(inputs, carry=state)
        logits.append(cast(Categorical, made.adapter.predict(thought.z)).logits)
        state = thought.result.z
    torch.testing.assert_close(outcome.prediction.logits, torch.cat(logits, 1))
    other = batch.clone()
    other["given"][:, 1] = (other["given"][:, 1] + 1) % 60
    after = made.adapter(made.bind(2), other).prediction
    changed = after.logits != outcome.prediction.logits
    assert changed.any(2).all(0).tolist() == [False, True, True, True]
    assert not changed[:, 0].any()


def test_a_gradient_leads_from_element_to_element(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model(kind="parity", length=3, longer=0, carried=True)
    batch = next(made.adapter.batches("train", batch_size=2, seed=0))
    inputs = made.adapter.embed(batch)
    x = inputs.x.detach().requires_grad_()
    monkeypatch.setattr(made.adapter, "embed", lambda _: replace(inputs, x=x))
    made.adapter(made.bind(1), batch).losses[:, -1].sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().amax((0, 2)) > 0).all()


def test_a_carried_state_is_followed_ten_times_as_far_if_it_is_normalised(tmp_path: Path) -> None:
    """Both are right at the trained length."""
    wrong = {}
    for norm in ("every", "none"):
        words = ["domain=puzzle", "domain.kind=parity", "domain.carried=true", "domain.length=6"]
        words += ["domain.longer=64", "domain.held_out=32", "core/injection=add", "core/init=zeros"]
        words += ["core.width=32", "core.num_heads=2", "core.num_loop=1", "core.loops=2"]
        words += [f"core.state_norm={norm}", "optimizer.lr=0.01", "optimizer.weight_decay=0"]
        words += ["training.steps=250", "training.batch_size=32", "training.trackers=[]"]
        words += [f"runs={tmp_path}", f"name={norm}"]
        row = train(compose(words)).folder.rows.read("valid")[-1]
        assert row["wrong_cells_percent"] == 0
        wrong[norm] = row["wrong_cells_percent_at_64"]
    assert wrong["every"] == 0
    assert wrong["none"] > 20


def test_sequences_double_until_they_are_as_long_as_they_get() -> None:
    batches = model(kind="s5", length=6, growth=2).adapter.batches("train", batch_size=1, seed=0)
    assert [next(batches)["given"].shape[1] for _ in range(8)] == [2, 2, 4, 4, 6, 6, 6, 6]


def test_held_out_puzzles_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model().adapter
    first = next(made.batches("valid", batch_size=4, seed=0))
    monkeypatch.setattr(type(made.kind), "split", None)
    assert torch.equal(next(made.batches("valid", batch_size=4, seed=0))["given"], first["given"])


@torch.no_grad()
def test_longer_sequences_are_measured_apart() -> None:
    made = model(kind="parity", length=6, longer=10).eval()
    metrics = made.adapter.metrics()
    names = ["wrong_cells_percent", "unsolved_percent"]
    assert list(metrics) == [*names, *(f"{name}_at_10" for name in names)]
    lengths = []
    for batch in made.adapter.batches("valid", batch_size=12, seed=0):
        lengths.append(batch["given"].shape[1])
        made.adapter.measure(metrics, made.adapter(made.bind(1), batch), batch)
    assert lengths == [6, 10]
    for metric in metrics.values():
        assert 0 <= float(metric.compute()) <= 100


@torch.no_grad()
def test_wrong_cells_and_unsolved_puzzles_are_counted() -> None:
    made = model().eval()
    batch = next(made.adapter.batches("valid", batch_size=12, seed=0))
    outcome = made.adapter(made.bind(1), batch)
    answer = outcome.prediction.logits.argmax(-1)
    wrong = (answer != batch["answer"]) & batch["asked"]
    metrics = made.adapter.metrics()
    made.adapter.measure(metrics, outcome, batch)
    expected = 100 * wrong.sum() / batch["asked"].sum()
    assert float(metrics["wrong_cells_percent"].compute()) == pytest.approx(float(expected))
    unsolved = 100 * wrong.any(1).float().mean()
    assert float(metrics["unsolved_percent"].compute()) == pytest.approx(float(unsolved))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sudoku4", "maze", "parity"])
def test_what_it_solves_is_written_as_a_person_reads_it(kind: str) -> None:
    made = model(kind=kind, side=5, length=6).eval()
    prompts = {"sudoku4": "1..." + "." * 12, "maze": "S...####.#....G.####.....", "parity": "1 1"}
    samples = list(made.adapter.sample(made.bind(2), ["", prompts[kind]], SampleSettings()))
    assert [sample.row for sample in samples] == [0, 1]
    assert all(sample.whole for sample in samples)
    if kind == "sudoku4":
        assert samples[1].text.startswith("1 ")
        assert samples[1].text.count("\n") == 3
    if kind == "parity":
        assert len(samples[1].text.split()) == 2


@torch.no_grad()
def test_hardness_is_shown_by_loops() -> None:
    made = model().eval()
    shown = list(made.adapter.exhibits(made.bind, [1, 2], 2))
    assert isinstance(shown[0], HeatMap)
    assert shown[0].x == [1, 2]
    assert [one.title for one in shown][-1] == "A hard puzzle"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"kind": "chess"}, "must be one of sudoku4, sudoku9, maze, parity, s5, a5, got 'chess'"),
        ({"segments": 0}, "segments must be at least 1, got 0"),
        (
            {"carried": True},
            "carried reads sequences, one of parity, s5, a5, got domain.kind=sudoku4",
        ),
        ({"kind": "a5", "carried": True, "segments": 2}, "goes with domain.segments=1, got 2"),
        ({"longer": -1}, "longer must not be negative, got -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        PuzzleConfig(**settings)

"""Quality against block evaluations: counted, judged, written down, and refused where it cannot be."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import stepwise
import toy
from stepwise import StepwiseSampling
from torch import tensor

from loopverse import registry
from loopverse.analysis import BlockCount, Judge, QualityTable, evaluate_quality
from loopverse.analysis.generation import words_of
from loopverse.depth import Decreasing, FixedPoint, LoopResult, Table
from loopverse.nn import CoreConfig
from loopverse.training import RunFolder, load, train
from loopverse.training.use import Use, read_use


@pytest.fixture(autouse=True, scope="module")
def _stepwise_is_installed(_toy_is_installed: None):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "domain_entry_points", registry.domain_entry_points)
        stepwise.register()
        yield


@pytest.fixture(scope="module")
def runs(_stepwise_is_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two domains: one samples in steps, the other reads."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("stepwise", "reading"):
        config = toy.toy_config(folder, steps=2, checkpoint_every=2, evaluate_every=2)
        train(replace(config, name=name, choices={"domain": name}))
    return folder


@pytest.fixture
def maker(runs: Path, tmp_path: Path) -> Path:
    return shutil.copytree(runs / "stepwise", tmp_path / "maker")


@pytest.fixture
def judge(runs: Path, tmp_path: Path) -> Path:
    return shutil.copytree(runs / "reading", tmp_path / "judge")


def test_blocks_are_layers_of_every_row_in_every_call() -> None:
    core = CoreConfig(num_prelude=1, num_loop=3, num_coda=2)
    count = BlockCount(core)
    state = tensor(0.0)
    count(LoopResult(state, tensor([[4, 4], [1, 1]])))
    assert count.blocks == (3 + 4 * 3) + (3 + 1 * 3)
    count(LoopResult(state, tensor([[1, 2]])))  # units that stopped apart
    assert count.blocks == 21 + 3 + 1.5 * 3
    assert count.calls == 2


def test_every_number_of_loops_meets_every_number_of_steps(maker: Path, judge: Path) -> None:
    table = evaluate_quality(maker, [2, 1], [4, 2, 2], judge=judge, samples=3)
    assert [(row.loops, row.steps) for row in table.rows] == [(1, 2), (1, 4), (2, 2), (2, 4)]
    layers = [1 + row.loops for row in table.rows]  # a prelude of one, a loop of one, no coda
    assert [row.blocks for row in table.rows] == [
        row.steps * layer for row, layer in zip(table.rows, layers, strict=True)
    ]
    assert all(row.seconds > 0 and len(row.sample) == 8 for row in table.rows)
    assert QualityTable.load(maker / "quality.json").rows[1].nats == table.rows[1].nats
    assert (table.judge, table.judge_step, table.step, table.samples) == (str(judge), 2, 2, 3)


def test_the_judge_finds_each_text_as_likely_as_it_is(maker: Path, judge: Path) -> None:
    (row,) = evaluate_quality(maker, [2], judge=judge, samples=4).rows
    assert row.tokens == [8] * 4
    assert row.sizes == [8] * 4
    ones = row.sample.count("1")
    assert row.nats[0] == pytest.approx(0.5 * (8 - ones) + 2.0 * ones)


def test_a_judge_leaves_padding_out(runs: Path) -> None:
    critic = Judge.load(runs / "reading", RunFolder(runs / "stepwise"))
    one, two = critic.weigh(["01", "00000000"])
    assert (one.nats, one.tokens) == (pytest.approx(2.5), 2)
    assert (two.nats, two.tokens) == (pytest.approx(4.0), 8)


def test_without_a_judge_there_is_variety_and_no_likelihood(maker: Path) -> None:
    (row,) = evaluate_quality(maker, [1], [3], samples=2).rows
    assert row.nats == []
    assert len(row.entropies) == 2
    assert math.isfinite(row.distinct[0])


def test_steps_that_the_domain_decides_are_not_a_number_of_steps(maker: Path) -> None:
    evaluate_quality(maker, [1], settings=StepwiseSampling(steps=None), samples=1)
    (row,) = QualityTable.load(maker / "quality.json").rows
    assert (row.steps, row.blocks) == (0, 4 * 2)


def test_rows_share_their_draws_so_that_only_depth_and_steps_differ(maker: Path) -> None:
    first, again = (evaluate_quality(maker, [2], [4], samples=3).rows[0] for _ in range(2))
    assert first.entropies == again.entropies
    assert first.sample == again.sample


def test_a_budget_a_rule_and_settings_are_used_and_noted(maker: Path) -> None:
    table = evaluate_quality(
        maker, [4], [4], budget=Decreasing(strength=0.5), settings=StepwiseSampling(length=6)
    )
    assert table.rows[0].blocks == 4 * 1 + (6 + 5 + 4 + 3)
    assert table.words == ["length=6", "budget=decreasing", "budget.strength=0.5"]
    stopped = evaluate_quality(maker, [4], [4], halting=FixedPoint(tolerance=1e9), samples=2)
    assert stopped.rows[0].blocks == 4 * 2


def test_the_words_of_a_use_read_as_that_use() -> None:
    use = Use(
        StepwiseSampling(steps=2, order="backward", temperature=0.0),
        Table(table=[3, 1]),
        FixedPoint(tolerance=0.1, per="sequence"),
    )
    assert read_use(StepwiseSampling, words_of(use)) == use
    assert words_of(Use(StepwiseSampling())) == []


def test_a_judge_with_other_assets_is_refused(maker: Path, judge: Path) -> None:
    (judge / "assets").mkdir(exist_ok=True)
    (judge / "assets" / "tokenizer.json").write_text("other")
    with pytest.raises(ValueError, match=r"judge cannot judge .*tokenizer.json and none.*same tok"):
        evaluate_quality(maker, [1], judge=judge)
    (maker / "assets").mkdir(exist_ok=True)
    (maker / "assets" / "tokenizer.json").write_text("another")
    with pytest.raises(ValueError, match="cannot judge"):
        evaluate_quality(maker, [1], judge=judge)
    (maker / "assets" / "tokenizer.json").write_text("other")
    assert evaluate_quality(maker, [1], judge=judge, samples=1).judge == str(judge)


def test_what_cannot_be_measured_is_refused_before_anything_is_sampled(
    maker: Path, judge: Path, tmp_path: Path
) -> None:
    for complaint, wish in {
        "Stepwise does not read texts": {"judge": maker},
        "there is no run folder": {"judge": tmp_path / "none"},
        "is not a run folder": {"judge": tmp_path},
        "steps must be 1 to the length 8, got 9": {"steps": [4, 9]},
        "number of samples must be at least 1, got 0": {"samples": 0},
        "number of loops must be at least 1, got 0": {"loops": [0]},
    }.items():
        with pytest.raises(ValueError, match=complaint):
            evaluate_quality(maker, **wish)
    with pytest.raises(ValueError, match="Reading does not sample"):
        evaluate_quality(judge)
    assert not (maker / "quality.json").exists()


def test_a_domain_without_steps_has_none_to_choose(
    maker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = type(load(maker).model.adapter)
    monkeypatch.setattr(domain, "Sampling", toy.DomainAdapter.Sampling)
    with pytest.raises(
        ValueError, match="SampleSettings has no setting `steps`.*leave out --steps"
    ):
        evaluate_quality(maker, [1], [2])

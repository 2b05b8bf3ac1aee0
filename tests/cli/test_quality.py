"""`loopverse evaluate` of what a run makes."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import stepwise
import toy
from commands import Command, Refusal

from loopverse import registry
from loopverse.analysis import QualityTable
from loopverse.training import train


@pytest.fixture(autouse=True)
def _stepwise_is_installed(monkeypatch: pytest.MonkeyPatch, _toy_is_installed: None) -> None:
    monkeypatch.setattr(registry, "domain_entry_points", registry.domain_entry_points)
    stepwise.register()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a domain that samples in steps and of one that reads."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "domain_entry_points", registry.domain_entry_points)
        stepwise.register()
        for name in ("stepwise", "reading"):
            config = toy.toy_config(folder, steps=1)
            train(replace(config, name=name, choices={"domain": name}))
    return folder


@pytest.fixture
def runs(loopverse: Command, trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "runs")


def test_a_row_for_all_loops_and_steps_is_shown_and_kept(loopverse: Command, runs: Path) -> None:
    line = "evaluate runs/stepwise --loops 1,2 --steps 4,2 --judge runs/reading --samples 3"
    answer = loopverse(*line.split(), "length=6", "budget=peaked")
    assert answer.status == 0, answer.err
    rows = [line.split()[:3] for line in answer.out.splitlines() if line.strip()[:1].isdecimal()]
    assert [row[:2] for row in rows] == [["1", "2"], ["1", "4"], ["2", "2"], ["2", "4"]]
    for text in ("bits/byte", "distinct", "Judged by runs/reading", "length=6 budget=peaked"):
        assert text in answer.out
    assert len(QualityTable.load(runs / "stepwise" / "quality.json").rows) == 4
    assert "block evaluations" in (runs / "stepwise" / "report.html").read_text()
    assert not (runs / "stepwise" / "evaluation.json").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--steps", "9"], "steps must be 1 to the length 8, got 9"),
        (["--steps", "many"], "expected whole numbers, such as 1,2,4,8, got many"),
        (["--judge", "runs/none"], "there is no run folder runs/none"),
        (["--judge", "runs/stepwise"], "runs/stepwise cannot be a judge: its domain Stepwise does"),
        (["--samples", "0"], "the number of samples must be at least 1, got 0"),
        (["--steps", "2", "--batches", "3"], "--batches and --batch-size are for held-out data"),
        (["stepz=3"], "unknown setting 'stepz'; did you mean 'steps'?"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    refusal: Refusal, runs: Path, words: list[str], line: str
) -> None:
    assert line in refusal("evaluate", "runs/stepwise", *words)

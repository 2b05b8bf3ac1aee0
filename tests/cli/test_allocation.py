"""`loopverse evaluate RUN halting=RULE`: a rule beside fixed depths, and where the loops went."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from commands import QUICK, Command, Refusal

from loopverse.analysis.exhibits import Exhibition
from loopverse.depth import FixedPoint
from loopverse.training import train

RULE = ("halting=fixed_point", "halting.tolerance=0.5")


@pytest.fixture
def run(loopverse: Command, tmp_path: Path) -> Path:
    return train(toy.toy_config(tmp_path / "runs", steps=1)).folder.path


def test_a_rule_is_held_against_fixed_depths_and_its_loops_are_shown(
    loopverse: Command, run: Path
) -> None:
    answer = loopverse("evaluate", "runs/run", *RULE, "--loops", "3,1", "--batches", "2")
    assert answer.status == 0, answer.err
    ways = [line.split()[0] for line in answer.out.splitlines()[2:5]]
    assert ways == ["1", "3", "fixed_point"]
    for text in ("halting=fixed_point halting.tolerance=0.5", "same 2 batches", "Loops of a unit"):
        assert text in " ".join(answer.out.split())
    assert "Rank correlation of loops with difficulty" in answer.out
    shown = Exhibition.load(run, "allocation")
    assert (shown.step, shown.problem) == (1, "")
    assert "Where the loops went" in (run / "report.html").read_text(encoding="utf-8")
    assert not (run / "evaluation.json").exists()


def test_a_rule_with_other_words_measures_what_the_run_makes(refusal: Refusal, run: Path) -> None:
    """Which the toy cannot do, and which is not for held-out data."""
    assert "sample" in refusal("evaluate", "runs/run", *RULE, "--samples", "1")
    assert "settings other than halting" in refusal(
        "evaluate", "runs/run", *RULE, "length=6", "--batches", "1"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["halting=fixed_depth"], "halting=fixed_depth stops nothing early: choose a rule"),
        (["halting=fixed_pont"], "did you mean"),
        (["halting=exit_gate"], "exit_gate"),
        (["halting=fixed_point", "halting.tolerance=-1"], "must be above 0, got -1"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(
    refusal: Refusal, run: Path, words: list[str], line: str
) -> None:
    assert line in refusal("evaluate", "runs/run", *words)
    assert not (run / "allocation.json").exists()


@pytest.mark.filterwarnings("default:halting=fixed_point with halting.tolerance=0.5 stops no unit")
def test_a_run_trained_with_a_rule_says_where_its_loops_went_without_being_asked(
    loopverse: Command, tmp_path: Path
) -> None:
    answer = loopverse("train", "name=own", *QUICK, *RULE, "gradient=full")
    assert answer.status == 0, answer.err
    assert "Loops of a unit" in answer.out
    assert "Loops of single units" not in answer.out  # tables only
    assert "warning: halting=fixed_point with halting.tolerance=0.5 stops no unit" in answer.err
    again = loopverse("evaluate", "runs/own", "--loops", "1,2")
    assert "Loops of single units" in again.out
    kept = json.loads((tmp_path / "runs/own/allocation.json").read_text(encoding="utf-8"))
    assert [row[0] for row in kept["exhibits"][0]["rows"]] == ["1 loop", "2 loops", "fixed_point"]


def test_a_rule_that_evaluation_cannot_use_is_a_warning_and_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loopverse.analysis import evaluate_run

    config = replace(toy.toy_config(tmp_path, steps=1), halting=FixedPoint(tolerance=0.5))
    folder = train(config).folder

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("not for this one")

    monkeypatch.setattr("loopverse.analysis.evaluate.collect_allocation", refuse)
    with pytest.warns(UserWarning, match="where the loops went is not known: not for this one"):
        evaluate_run(folder)
    assert (folder.path / "evaluation.json").exists()

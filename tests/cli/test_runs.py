"""What can be done with a run: `sample`, `evaluate`, `report`; and `domains` and `check`."""

import json
import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import toy
import walk
from commands import QUICK, Command, Refusal

from loopverse import registry
from loopverse.analysis import DepthTable
from loopverse.testing import domain_checks
from loopverse.training import train
from loopverse.training.compose import compose

WALK = (*QUICK, "domain=walk")


@pytest.fixture(autouse=True)
def _walk_is_installed(monkeypatch: pytest.MonkeyPatch, _toy_is_installed: None) -> None:
    installed = registry.domain_entry_points
    points = {
        "walk": EntryPoint("walk", "walk:Walk", registry.GROUP),
        "gone": EntryPoint("gone", "no_such_package:Gone", registry.GROUP),
    }
    monkeypatch.setattr(registry, "domain_entry_points", lambda: installed() | points)


@pytest.fixture
def run(tmp_path: Path, loopverse: Command) -> str:
    """The path of a run of the walk."""
    train(compose([*WALK, "name=walk"]))
    return "runs/walk"


def test_training_ends_with_the_sample_that_the_evaluation_kept(
    loopverse: Command, tmp_path: Path
) -> None:
    answer = loopverse("train", "name=walk", *WALK)
    assert answer.status == 0, answer.err
    table = DepthTable.load(tmp_path / "runs" / "walk" / "evaluation.json")
    assert table.reference.loops == table.trained
    assert f"as deep as in training\n{table.reference.sample}\n" in answer.out
    assert 'loopverse sample runs/walk --prompt "..."' in answer.out


def test_sample_continues_every_prompt(loopverse: Command, run: str) -> None:
    line = ("sample", run, "--prompt", "ab", "--prompt", "cde", "--length", "6")
    answer = loopverse(*line)
    assert answer.status == 0, answer.err
    first, one, second, two = answer.out.splitlines()
    assert (first, second) == ("--- 1 of 2", "--- 2 of 2")
    assert one.startswith("ab")
    assert two.startswith("cde")
    assert (len(one), len(two)) == (8, 9)
    assert loopverse(*line).out == answer.out
    assert loopverse(*line, "--seed", "1").out != answer.out


def test_sample_begins_from_nothing_and_takes_any_depth(loopverse: Command, run: str) -> None:
    for loops in ("1", "5"):
        answer = loopverse("sample", run, "--tokens", "4", "--loops", loops)
        assert answer.status == 0, answer.err
        assert len(answer.out) == 5


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--top-p", "0"], "top_p must be in (0, 1], got 0.0"),
        (["--temperature", "-1"], "temperature must not be negative, got -1.0"),
        (["--length", "0"], "the length to sample must be at least 1, got 0"),
        (
            ["--checkpoint", "77"],
            "has no checkpoint '77': expected best, last or one of the steps 2",
        ),
    ],
)
def test_sample_refuses_what_it_cannot_do(
    refusal: Refusal, run: str, words: list[str], line: str
) -> None:
    assert line in refusal("sample", run, *words)


def test_a_domain_that_makes_nothing_says_so(
    loopverse: Command, refusal: Refusal, tmp_path: Path
) -> None:
    train(toy.toy_config(tmp_path, steps=1))
    assert refusal("sample", "run") == "Toy does not sample"


def test_evaluate_measures_each_depth_and_renews_the_report(
    loopverse: Command, run: str, tmp_path: Path
) -> None:
    answer = loopverse("evaluate", run, "--loops", "4,1,2")
    assert answer.status == 0, answer.err
    rows = [line.split()[0] for line in answer.out.splitlines() if line.strip()[:1].isdecimal()]
    assert rows == ["1", "2", "4"]
    assert f"report  {run}/report.html" in answer.out
    depths = json.loads((tmp_path / run / "evaluation.json").read_text())["depths"]
    assert [depth["loops"] for depth in depths] == [1, 2, 4]
    assert (tmp_path / run / "report.html").exists()


def test_calibrate_keeps_what_it_found_and_prints_a_row_for_each_way(
    loopverse: Command, run: str, tmp_path: Path
) -> None:
    words = ("--loops", "3", "--max-increase", "50%", "--rules", "fixed_point,confidence")
    assert "needs at least 2 batches" in loopverse("calibrate", run, "--batches", "1").err
    answer = loopverse("calibrate", run, *words)
    assert answer.status == 0, answer.err
    found = json.loads((tmp_path / run / "calibration.json").read_text())
    assert [row["name"] for row in found["fixed"]] == ["1 loop", "2 loops", "3 loops"]
    assert [row["name"] for row in found["rules"]] == ["fixed_point", "confidence"]
    assert found["max_increase"] == 0.5
    for row in (*found["fixed"], *found["rules"]):
        assert f"  {row['name']}  " in answer.out
    assert f"report  {run}/report.html" in answer.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--max-increase", "much"], "expected a share such as 0.5% or 0.005, got 'much'"),
        (["--max-increase", "0"], "the bound must be above 0 and below 1 (100%), got 0"),
        (["--rules", "fixed_pint"], "did you mean 'fixed_point'?"),
        (["--loops", "1"], "expected at least 2 loops, of which some can be saved, got 1"),
    ],
)
def test_calibrate_refuses_what_it_cannot_do(
    refusal: Refusal, run: str, words: list[str], line: str
) -> None:
    assert line in refusal("calibrate", run, *words)


def test_what_is_not_calibrated_cannot_be_used_so(
    loopverse: Command, refusal: Refusal, run: str
) -> None:
    line = ("sample", run, "--length", "6", "halting=calibrated")
    assert f"`loopverse calibrate {run}` comes first" in refusal(*line)


def test_report_says_where_it_is(loopverse: Command, run: str, tmp_path: Path) -> None:
    answer = loopverse("report", run)
    assert (answer.status, answer.out) == (0, f"{run}/report.html\n")
    assert (tmp_path / run / "report.html").exists()


def test_domains_lists_what_is_installed_and_what_is_broken(loopverse: Command) -> None:
    answer = loopverse("domains")
    lines = {line.split()[0]: line for line in answer.out.splitlines()}
    assert {"autoregressive", "gone", "toy", "walk"} <= lines.keys()
    assert "loopverse_autoregressive:Autoregressive (loopverse " in lines["autoregressive"]
    assert lines["gone"].endswith("broken, there is no package no_such_package")


def test_a_broken_domain_harms_no_other(loopverse: Command, refusal: Refusal) -> None:
    assert loopverse("train", "--cfg", "job", *WALK).status == 0
    line = refusal("train", *QUICK, "domain=gone")
    assert line.startswith(
        "domain 'gone' is registered as no_such_package:Gone and does not import"
    )


def test_check_shows_every_check_of_the_contract(loopverse: Command) -> None:
    answer = loopverse("check", "walk", "domain.length=6")
    assert answer.status == 0, answer.out
    *lines, last = answer.out.splitlines()
    assert last == "walk (Walk) keeps the contract"
    assert len(lines) == len(domain_checks())
    assert {line[2:18].strip() for line in lines} <= {"passed", "nothing to check"}


def test_check_says_what_is_wrong(loopverse: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk.Walk, "metric", "")
    answer = loopverse("check", "walk")
    assert answer.status == 2
    assert "  failed " in answer.out
    found = re.fullmatch(
        r"loopverse: walk \(Walk\) breaks the contract: (\d+) of \d+ checks failed\n", answer.err
    )
    assert found is not None
    assert answer.out.count("  failed ") == int(found[1])

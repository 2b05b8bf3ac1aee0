"""`loopverse diagnose RUN`: a verdict on the terminal, the figures in the report."""

import json
from pathlib import Path

import pytest
import toy
from commands import Command, Refusal

from loopverse import registry
from loopverse.training import train


@pytest.fixture
def run(loopverse: Command, tmp_path: Path) -> Path:
    return train(toy.toy_config(tmp_path / "runs", steps=1)).folder.path


def test_the_verdict_is_told_and_the_figures_are_in_the_report(
    loopverse: Command, run: Path
) -> None:
    answer = loopverse("diagnose", "runs/run", "--samples", "16")
    assert answer.status == 0, answer.err
    said = " ".join(answer.out.split())
    assert "→ run it with" in said
    assert "→ train with" in said
    assert "Ways to differentiate" not in said
    page = (run / "report.html").read_text(encoding="utf-8")
    for title in ("What each loop does", "Every depth", "Where it leads", "Ways to differentiate"):
        assert title in page
    kept = json.loads((run / "diagnosis.json").read_text(encoding="utf-8"))
    assert [row[1] for row in kept["exhibits"][0]["rows"]].count("advice") == 3


def test_figures_come_before_the_verdict_where_they_are_asked_for(
    loopverse: Command, run: Path
) -> None:
    answer = loopverse("diagnose", "runs/run", "--samples", "16", "--figures")
    assert answer.out.index("Every depth") < answer.out.index("→ run it with")


def test_what_cannot_be_diagnosed_is_refused_in_a_line(refusal: Refusal, run: Path) -> None:
    assert "runs/none" in refusal("diagnose", "runs/none")
    assert "samples must be at least 1, got 0" in refusal("diagnose", "runs/run", "--samples", "0")
    assert "no checkpoint '77'" in refusal("diagnose", "runs/run", "--checkpoint", "77")


def test_a_run_whose_domain_is_no_longer_installed_is_refused(
    refusal: Refusal, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "domain_entry_points", dict)
    line = refusal("diagnose", "runs/run")
    assert line.startswith("unknown domain 'toy'")
    assert line.endswith("with a package of its own, in loopverse.domains: install that")
    assert not (run / "diagnosis.json").exists()


def test_a_damaged_file_costs_the_report_nothing_else(loopverse: Command, run: Path) -> None:
    (run / "diagnosis.json").write_text("{", encoding="utf-8")
    assert loopverse("report", "runs/run").status == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "loopverse diagnose" in page
    assert "damaged" in page

"""`loopverse compare`: studies end with a verdict, go on where they were stopped, and refuse in one line."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml
from commands import QUICK, Command, Refusal

from loopverse.compare import jobs, running
from loopverse.compare.study import read_study
from loopverse.training import Run, train

SETTINGS = [word for word in QUICK if not word.startswith(("domain=", "core.loops=", "size="))]


@pytest.fixture
def study(tmp_path: Path) -> str:
    """Three arms of the toy, two seeds, two learning rates."""
    content = {
        "domains": ["toy"],
        "loops": [1, 2],
        "untied": [2],
        "seeds": [0, 1],
        "rates": [0.5, 1.0],
        "sizes": ["tiny"],
        "settings": [*SETTINGS, "training.evaluate_every=2"],
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return f"study={path}"


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_study_ends_with_a_verdict_a_table_and_a_page(
    loopverse: Command, study: str, tmp_path: Path
) -> None:
    answer = loopverse("compare", study)
    assert answer.status == 0, answer.err
    assert "2 loops: " in answer.out
    assert "What loops are worth" in answer.out
    folder = tmp_path / "studies" / "mine"
    rows = table(folder)
    assert [(row["arm"], row["seed"]) for row in rows] == [
        (arm, seed) for arm in ("1 loop", "2 loops", "2 loops, untied") for seed in "01"
    ]
    assert {row["state"] for row in rows} == {"finished"}
    page = (folder / "report.html").read_text()
    assert (
        page.index("<h2>Verdict</h2>")
        < page.index("Across domains")
        < page.index("How it was made")
    )
    assert 'src="http' not in page
    assert "loopverse compare study=" in page
    summary = (folder / "summary.md").read_text()
    assert "## toy tiny" in summary
    for kind in ("svg", "png"):
        assert list((folder / "figures").glob(f"*.{kind}"))

    again = loopverse("compare", study)
    assert again.status == 0
    assert "training 0 of 6 runs" in again.out
    assert "[1/" not in again.out
    assert table(folder) == rows


def test_a_study_that_was_stopped_goes_on_and_makes_no_run_twice(
    loopverse: Command, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = loopverse("compare", study, "--folder", "whole")
    assert whole.status == 0, whole.err
    begun: list[str] = []

    def killed(config=None, *, run=None) -> Run:
        if config is not None:
            begun.append(config.name)
        if len(begun) == 8:  # half-written, as after a kill
            (Path(config.runs) / config.name).mkdir()
            raise KeyboardInterrupt
        return train(config, run=run)

    monkeypatch.setattr(running, "train", killed)
    stopped = loopverse("compare", study, "--folder", "parts")
    assert stopped.status == 130
    assert f"the same line goes on:\n  loopverse compare {study}" in stopped.out
    done = len(list(Path("parts/runs").glob("*/summary.json")))
    assert done == 7
    assert loopverse("compare", study, "--folder", "parts").status == 0
    names = [path.name for path in Path("parts/runs").glob("*/summary.json")]
    assert len(names) == 12
    assert len(begun) == 13, "the one that was stopped was begun twice, no other"
    same = ("arm", "seed", "value", "rate", "parameters", "training_flops", "folder")
    assert [{k: row[k] for k in same} for row in table(Path("parts"))] == [
        {k: row[k] for k in same} for row in table(Path("whole"))
    ]


def test_a_run_that_fails_is_a_row_and_stops_no_other(
    loopverse: Command, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(config=None, *, run=None) -> Run:
        if config is not None and config.seed == 1 and not config.core.tied:
            raise RuntimeError("out of\nmemory")
        return train(config, run=run)

    monkeypatch.setattr(running, "train", fails)
    answer = loopverse("compare", study)
    assert answer.status == 1
    (bad,) = [row for row in table(Path("studies/mine")) if row["state"] == "failed"]
    assert (bad["arm"], bad["reason"]) == ("2 loops, untied", "RuntimeError: out of memory")
    assert (
        "1 run has no result: 2 loops, untied, seed 1: RuntimeError: out of memory." in answer.out
    )
    monkeypatch.setattr(running, "train", train)
    again = loopverse("compare", study)
    assert again.status == 0
    assert "training 1 of 6 runs" in again.out


def test_a_run_is_another_one_when_its_settings_or_the_code_are(
    study: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = read_study(study.removeprefix("study="))
    group, arm = found.groups()[0], found.arms()[0]

    def name(**change: float) -> str:
        settings = {"seed": 0, "rate": 1.0, **change}
        words = found.words(group, arm)
        return jobs.job(
            tmp_path, group, arm, words, seed=int(settings["seed"]), rate=settings["rate"]
        ).name

    assert name() == name()
    assert len({name(), name(seed=1), name(rate=0.5)}) == 3
    before = name()
    monkeypatch.setattr(jobs, "code_version", lambda _: "another")
    assert name() != before


@pytest.mark.parametrize("budget", ["flops", "seconds"])
def test_budgets_give_cheap_arms_more_steps(loopverse: Command, study: str, budget: str) -> None:
    answer = loopverse("compare", study, f"budget={budget}", "tries=1", "rates=[1.0]", "seeds=[0]")
    assert answer.status == 0, answer.err
    rows = {row["arm"]: row for row in table(Path("studies/mine"))}
    assert int(rows["2 loops"]["steps"]) <= int(rows["1 loop"]["steps"])
    if budget == "flops":
        budgets = {float(row["training_flops"]) for row in rows.values()}
        steps = [float(row["training_flops"]) / int(row["steps"]) for row in rows.values()]
        assert max(budgets) - min(budgets) < max(steps), "to a step"


def test_a_pace_that_is_not_known_is_no_budget(
    loopverse: Command, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(config=None, *, run=None) -> Run:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(running, "train", fails)
    answer = loopverse("compare", study, "budget=seconds", "seeds=[0]")
    assert answer.status == 2
    assert "its try failed (RuntimeError: out of memory)" in answer.err


def test_watching_shows_how_far_a_study_has_come(loopverse: Command, study: str) -> None:
    loopverse("compare", study, "seeds=[0]", "rates=[1.0]")
    answer = loopverse("compare", "--watch", "studies/mine")
    assert answer.status == 0
    assert "studies/mine: 3 runs finished, 0 begun, 0 failed" in answer.out
    assert "2 untied" in answer.out


def test_runs_that_there_are_are_compared(loopverse: Command, refusal: Refusal) -> None:
    for loops, tied in ((1, "true"), (2, "true"), (2, "false")):
        for seed in (0, 1):
            name = f"name={loops}-{tied}-{seed}"
            words = [*QUICK, f"core.loops={loops}", f"core.tied={tied}", f"seed={seed}", name]
            assert loopverse("train", *words).status == 0
    runs = [f"runs/{path.name}" for path in sorted(Path("runs").iterdir())]
    answer = loopverse("compare", *runs)
    assert answer.status == 0, answer.err
    assert "2 loops: " in answer.out
    assert len(table(Path("studies/runs"))) == 6
    assert "named twice" in refusal("compare", runs[0], runs[0])
    shutil.copytree(runs[0], "runs/copy")
    assert "are both 1 loop with seed 0" in refusal("compare", runs[0], "runs/copy")
    (Path("runs/copy") / "summary.json").unlink()
    assert "is not finished: go on with it" in refusal("compare", runs[0], "runs/copy")
    config = yaml.safe_load((Path(runs[1]) / "config.yaml").read_text())
    config["domain"]["flip"] = 0.25
    (Path(runs[1]) / "config.yaml").write_text(yaml.safe_dump(config))
    assert "do not learn the same data (domain.flip=0.25)" in refusal("compare", *runs[:2])
    (Path("runs/empty")).mkdir()
    assert "is not a run folder" in refusal("compare", runs[0], "runs/empty")
    summary = Path(runs[2]) / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "metric": "errors"}))
    assert "numbers of different kinds cannot be compared" in refusal("compare", runs[0], runs[2])
    summary = Path(runs[3]) / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "value": None}))
    answer = loopverse("compare", runs[0], runs[3])
    assert "the headline metric is not a finite number" in answer.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected one study, such as study=quick, or runs to compare"),
        (["study=quick", "study=full"], "expected one study"),
        (["study=quik"], "unknown study 'quik'; did you mean 'quick'"),
        (["study=quick", "sead=1"], "unknown setting of a study 'sead'"),
        (["runs/none"], "there is no run folder runs/none"),
        (["runs/none", "seeds=[1]"], "leave out seeds=[1]"),
        (["--watch", "none"], "none holds no study"),
        (["study=quick", "settings=[training.step=1]"], "unknown setting 'training.step'"),
        (["study=quick", "--every", "0"], "expected seconds above 0"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(
    refusal: Refusal, words: list[str], message: str
) -> None:
    assert message in refusal("compare", *words)


def test_a_launcher_that_there_is_not_is_refused(loopverse: Command, study: str) -> None:
    answer = loopverse("compare", study, "hydra/launcher=nosuch")
    assert answer.status == 2
    assert answer.err.count("\n") == 1
    assert "nosuch" in answer.err

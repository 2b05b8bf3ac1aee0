"""`loopverse train`: one run, a resumed run, and every line that is refused."""

import json
from pathlib import Path

import pytest
import yaml
from commands import QUICK, Command, Refusal


def test_training_ends_with_the_metric_by_depth_the_report_and_what_to_type_next(
    loopverse: Command, tmp_path: Path
) -> None:
    answer = loopverse("train", "name=one", *QUICK)
    assert answer.status == 0, answer.err
    assert "training: runs/one" in answer.err
    assert "nats_per_bit by depth" in answer.out
    rows = [line.split()[0] for line in answer.out.splitlines() if line.strip()[:1].isdecimal()]
    assert rows == ["1", "2", "4"]
    assert "report  runs/one/report.html" in answer.out
    for line in ("evaluate runs/one", "train run=runs/one"):
        assert f"loopverse {line}" in answer.out
    assert "loopverse sample" not in answer.out  # the toy does not
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    left = {path.name for path in (tmp_path / "runs" / "one").iterdir()}
    assert {"config.yaml", "choices.yaml", "run.json", "summary.json", "report.html"} <= left
    assert not left & {".hydra", "outputs", "multirun.yaml"}


def test_a_run_without_a_name_is_named_after_its_choices(
    loopverse: Command, tmp_path: Path
) -> None:
    assert loopverse("train", *QUICK).status == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("toy-plain-")


def test_what_is_trained_is_what_the_line_says(loopverse: Command, tmp_path: Path) -> None:
    line = ("train", "name=one", *QUICK, "core=parcae", "core.loops=3", "optimizer.lr=0.5")
    assert loopverse(*line, "gradient=full", "schedule=constant").status == 0
    config = yaml.safe_load((tmp_path / "runs" / "one" / "config.yaml").read_text())
    choices = yaml.safe_load((tmp_path / "runs" / "one" / "choices.yaml").read_text())
    assert config["schedule"] == {"loops": 3}
    assert config["optimizer"]["lr"] == 0.5
    assert choices["core"] == "parcae"
    assert (choices["gradient"], choices["schedule"]) == ("full", "constant")
    assert choices["core/injection"] == "retention"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        # names
        (
            ["domain=tyo"],
            "unknown domain 'tyo'; did you mean 'toy'? known: autoregressive, masked_diffusion, puzzle, toy, world_model",
        ),
        (["core=hugin"], "unknown core 'hugin'; did you mean 'huginn'? known: fprm, huginn,"),
        (["core/injection=ad"], "unknown core/injection 'ad'; did you mean 'add'?"),
        (["core.lops=2"], "unknown setting 'core.lops'; did you mean 'core.loops'?"),
        (["width=64"], "unknown setting 'width'; did you mean 'core.width'?"),
        (["domain.lenght=3"], "unknown setting 'domain.lenght'; did you mean 'domain.length'?"),
        (["gradient.loops=3"], "unknown setting 'gradient.loops'; gradient=truncated has it"),
        (["+core.depth=3"], "unknown setting 'core.depth'"),
        (["core.injection=add"], "core.injection is chosen by name: write core/injection=NAME"),
        # values
        (["core.width=wide"], "core.width must be a whole number, got wide"),
        (["optimizer.lr=fast"], "optimizer.lr must be a number, got fast"),
        (["core.tied=maybe"], "core.tied must be true or false, got maybe"),
        (["training.ema=much"], "training.ema must be a number or null, got much"),
        (["core.width="], "core.width must be a whole number, got nothing"),
        (["schedule.loops=???"], "schedule.loops has no value: write schedule.loops=VALUE"),
        (["seed=1,2"], "seed=1,2 holds several values: add -m to run each of them"),
        (["core.loops=0"], "core.loops must be at least 1, got 0"),
        (["core.num_heads=3"], "core.num_heads must divide core.width, got 3 heads for width 64"),
        (["training.steps=0"], "training.steps must be at least 1, got 0"),
        (["optimizer.betas=[0.9]"], "optimizer.betas must be a list of 2, got [0.9]"),
        (["training.trackers=[tensorbord]"], "did you mean 'tensorboard'?"),
        # pairs
        (["halting=exit_gate"], "halting=exit_gate objective=expected"),
        (["objective=every", "gradient=truncated"], "use gradient=full or gradient=checkpointed"),
        (["gradient=truncated", "halting=fixed_point"], "or halting=fixed_depth"),
        (["core.tied=false", "schedule=poisson"], "use schedule=constant, or core.tied=true"),
        # grammar
        (
            ["huginn"],
            "cannot read 'huginn': settings are written key=value; did you mean core=huginn?",
        ),
        (["domain.length=(3"], "cannot read the value in domain.length=(3: quote it twice"),
        (["--steps", "3"], "there is no option --steps: settings are written key=value, such as"),
        (["~core.width"], "nothing can be taken away"),
        (["+core=plain"], "to choose a core, write core=NAME"),
        (["choices.core=plain"], "write core=NAME to choose"),
        (["--config-name", "other"], "there is no settings file other.yaml"),
        (["--config-dir", "nowhere"], "not found"),
        # sweeps
        (["-m", "core=plain,hugin"], "unknown core 'hugin'; did you mean 'huginn'?"),
        (["-m", "core.loops=1,0"], "core.loops must be at least 1, got 0"),
        (["-m", "core.lops=1,2"], "unknown setting 'core.lops'; did you mean 'core.loops'?"),
        # resuming
        (["run="], "run= needs a run folder to go on with"),
        (["run=nowhere"], "there is no run folder nowhere"),
        (["run=.", "core=plain"], "run=. goes on with the settings the run was started with"),
    ],
)
def test_a_wrong_line_is_refused_in_one_line_and_leaves_nothing(
    refusal: Refusal, tmp_path: Path, words: list[str], answer: str
) -> None:
    quick = () if words[0].startswith("run=") else QUICK
    assert answer in refusal("train", *quick, *words)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_a_run_is_not_trained_over(loopverse: Command, tmp_path: Path) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "notes.txt").touch()
    answer = loopverse("train", "name=one", *QUICK)
    assert answer.status == 2
    assert "choose another name with name=..." in answer.err
    assert answer.err.count("\n") == 1


def test_a_place_that_cannot_be_written_is_refused(loopverse: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    answer = loopverse("train", "name=one", *QUICK)
    assert answer.status == 2
    assert answer.err.startswith("loopverse: ")
    assert answer.err.count("\n") == 1


def test_a_run_that_was_stopped_says_how_to_go_on(loopverse: Command, stopped: list[int]) -> None:
    answer = loopverse("train", "name=with space", *QUICK)
    assert (answer.status, answer.err) == (130, "")
    assert answer.out == (
        "stopped and saved at step 2 of 100; to go on:\n  loopverse train run='runs/with space'\n"
    )


def test_a_run_goes_on_where_it_was_stopped(loopverse: Command, tmp_path: Path) -> None:
    assert loopverse("train", "name=one", *QUICK, "training.steps=4").status == 0
    run = tmp_path / "runs" / "one"
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("steps: 4", "steps: 6"))
    answer = loopverse("train", "run='runs/one'")
    assert answer.status == 0, answer.err
    assert "going on from step 4: runs/one" in answer.err
    assert json.loads((run / "summary.json").read_text())["step"] == 6
    again = loopverse("train", "run=runs/one")
    assert (again.status, again.out) == (0, "runs/one is finished: all 6 steps are done\n")


@pytest.mark.parametrize("lost", ["summary.json", "evaluation.json", "report.html"])
def test_a_run_that_was_killed_after_its_last_step_gets_what_is_missing(
    loopverse: Command, tmp_path: Path, lost: str
) -> None:
    assert loopverse("train", "name=one", *QUICK).status == 0
    run = tmp_path / "runs" / "one"
    (run / lost).unlink()
    answer = loopverse("train", "run=runs/one")
    assert answer.status == 0, answer.err
    assert "report  runs/one/report.html" in answer.out
    assert json.loads((run / "summary.json").read_text())["step"] == 2
    assert {"evaluation.json", "report.html"} <= {path.name for path in run.iterdir()}
    assert "is finished" in loopverse("train", "run=runs/one").out


def test_going_on_takes_no_other_setting(loopverse: Command, refusal: Refusal) -> None:
    assert loopverse("train", "name=one", *QUICK).status == 0
    for word in ("training.steps=9", "-m", "core=plain", "run=runs/two"):
        assert "leave out" in refusal("train", word, "run=runs/one")

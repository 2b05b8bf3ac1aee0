"""`loopverse train`: one run, a sweep, a resumed run, and every line that is refused."""

import json
import signal
from pathlib import Path

import pytest
import yaml
from commands import QUICK, Command, Refusal

from loopverse.cli import train as cli
from loopverse.training import Run


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
    for line in ("sample runs/one", "evaluate runs/one", "train run=runs/one"):
        assert f"loopverse {line}" in answer.out
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
        (["domain=tyo"], "unknown domain 'tyo'; did you mean 'toy'? known: autoregressive, toy"),
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


def test_cfg_job_prints_the_configuration_and_runs_nothing(
    loopverse: Command, tmp_path: Path
) -> None:
    answer = loopverse("train", "--cfg", "job", "--resolve", "core.loops=7", *QUICK[:-1])
    assert answer.status == 0
    printed = yaml.safe_load(answer.out)
    assert printed["core"]["loops"] == printed["schedule"]["loops"] == 2  # the later one
    assert printed["domain"]["length"] == 12
    assert "hydra" not in printed
    assert not list(tmp_path.iterdir())


def test_options_may_stand_anywhere(loopverse: Command) -> None:
    answer = loopverse("train", *TOY, "--cfg", "job", "core.loops=7", "--package", "schedule")
    assert answer.status == 0, answer.err
    assert yaml.safe_load(answer.out) == {"loops": "${core.loops}"}


TOY = ("domain=toy",)


def test_a_folder_of_ones_own_settings_can_be_added(loopverse: Command, tmp_path: Path) -> None:
    (tmp_path / "mine" / "core").mkdir(parents=True)
    (tmp_path / "mine" / "core" / "deep.yaml").write_text(
        "# @package _global_\ndefaults: [plain, _self_]\ncore: {num_loop: 5}\n"
    )
    line = (
        "train",
        "--config-dir",
        "mine",
        *TOY,
        "core=deep",
        "--cfg",
        "job",
        "-p",
        "core.num_loop",
    )
    answer = loopverse(*line)
    assert (answer.status, answer.out) == (0, "5\n")


def test_a_mistake_in_ones_own_settings_names_the_file(loopverse: Command, tmp_path: Path) -> None:
    (tmp_path / "mine" / "core").mkdir(parents=True)
    file = tmp_path / "mine" / "core" / "deep.yaml"
    for text, complaint in (
        (
            "# @package _global_\ncore: {lops: 5}\n",
            "unknown setting 'core.lops' (in core/deep.yaml)",
        ),
        (
            "# @package _global_\ncore: {loops: many}\n",
            "must be a whole number, got many (in core/deep.yaml)",
        ),
        ("core: [\n", "a settings file is not YAML"),
        ("# @package _global_\ndefaults: [override /shedule: ramp]\n", "shedule"),
    ):
        file.write_text(text)
        answer = loopverse("train", "--config-dir", "mine", *TOY, "core=deep")
        assert (answer.status, answer.err.count("\n")) == (2, 1), answer.err
        assert complaint in answer.err


def test_a_sweep_gives_every_job_a_folder_and_holds_them_against_each_other(
    loopverse: Command, tmp_path: Path
) -> None:
    answer = loopverse("train", "-m", "name=depths", *QUICK, "core.loops=1,2", "seed=0,1")
    assert answer.status == 0, answer.err
    sweep = tmp_path / "runs" / "depths"
    names = ["0-core.loops=1,seed=0", "1-core.loops=1,seed=1", "2-core.loops=2,seed=0"]
    names.append("3-core.loops=2,seed=1")
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == names
    for name in names:
        config = yaml.safe_load((sweep / name / "config.yaml").read_text())
        assert f"core.loops={config['core']['loops']},seed={config['seed']}" in name
        assert (sweep / name / "report.html").exists()
    table = answer.out[answer.out.index("of the sweep") :]
    assert [line.split()[-1] for line in table.splitlines()[1:5]] == [
        f"runs/depths/{name}" for name in names
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    values = [json.loads((sweep / name / "summary.json").read_text())["value"] for name in names]
    assert len(set(values)) == 4


def test_a_job_that_fails_stops_no_other(
    loopverse: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "s" / "0-seed=0").mkdir(parents=True)
    (tmp_path / "runs" / "s" / "0-seed=0" / "taken").touch()
    answer = loopverse("train", "-m", "name=s", *QUICK, "seed=0,1")
    assert answer.status == 2
    assert "loopverse: 0-seed=0: runs/s/0-seed=0 exists and is not a run folder" in answer.err
    assert (tmp_path / "runs" / "s" / "1-seed=1" / "summary.json").exists()


def test_a_bug_in_a_job_shows_its_traceback_and_stops_no_other(
    loopverse: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []

    def train(config, reporter):
        seeds.append(config.seed)
        raise RuntimeError(f"a bug with {config.seed}")

    monkeypatch.setattr(cli, "train", train)
    answer = loopverse("train", "-m", *QUICK, "seed=0,1")
    assert answer.status == 1
    assert seeds == [0, 1]
    assert "RuntimeError: a bug with 0" in answer.err
    assert "RuntimeError: a bug with 1" in answer.err


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Training that a signal stops at once; holds the seeds of what was started."""
    seeds: list[int] = []
    train = cli.train

    def interrupted(config=None, *, run=None, reporter=None) -> Run:
        if config is not None:
            seeds.append(config.seed)
        ended = train(config, run=run)
        return Run(ended.folder, ended.progress, 100, signal.SIGINT)

    monkeypatch.setattr(cli, "train", interrupted)
    return seeds


def test_a_run_that_was_stopped_says_how_to_go_on(loopverse: Command, stopped: list[int]) -> None:
    answer = loopverse("train", "name=with space", *QUICK)
    assert (answer.status, answer.err) == (130, "")
    assert answer.out == (
        "stopped and saved at step 2 of 100; to go on:\n  loopverse train run='runs/with space'\n"
    )


def test_a_signal_stops_the_whole_sweep(loopverse: Command, stopped: list[int]) -> None:
    assert loopverse("train", "-m", *QUICK, "seed=0,1,2").status == 130
    assert stopped == [0]


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


def test_going_on_takes_no_other_setting(loopverse: Command, refusal: Refusal) -> None:
    assert loopverse("train", "name=one", *QUICK).status == 0
    for word in ("training.steps=9", "-m", "core=plain", "run=runs/two"):
        assert "leave out" in refusal("train", word, "run=runs/one")


def test_help_lists_every_group_and_setting_with_the_values_of_the_line(
    loopverse: Command,
) -> None:
    answer = loopverse("train", *QUICK, "schedule=poisson", "core.width=48", "--help")
    assert answer.status == 0, answer.err
    for text in ("core.width=48", "schedule.mean=2", "domain.length=12", "training.steps=2"):
        assert text in answer.out
    assert "channels `d` of the state" in answer.out
    assert "poisson*" in answer.out
    for group in ("core/injection", "halting", "rate"):
        assert f"  {group} " in answer.out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("loopverse tr", ["train"]),
        ("loopverse ", ["train", "sample", "evaluate", "report", "domains", "check"]),
        ("loopverse train core=h", ["core=huginn"]),
        ("loopverse train domain=to", ["domain=toy"]),
        ("loopverse train core/inj", ["core/injection="]),
        ("loopverse train core.lo", ["core.loops="]),
    ],
)
def test_the_tab_key_completes(
    loopverse: Command, monkeypatch: pytest.MonkeyPatch, line: str, words: list[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    answer = loopverse("-sc", "query=bash")
    assert answer.status == 0, answer.err
    assert answer.out.split() == words


def test_completion_can_be_installed(loopverse: Command) -> None:
    answer = loopverse("train", "-sc", "install=bash")
    assert answer.status == 0
    assert answer.out.rstrip().endswith("loopverse")

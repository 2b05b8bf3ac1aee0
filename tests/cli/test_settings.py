"""What `loopverse train` says without training: help, the configuration, completion."""

from pathlib import Path

import pytest
import yaml
from commands import QUICK, Command

TOY = ("domain=toy",)


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
        (
            "loopverse ",
            [
                "train",
                "sample",
                "evaluate",
                "calibrate",
                "diagnose",
                "compare",
                "report",
                "domains",
                "new",
                "check",
                "plan",
                "solve",
            ],
        ),
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

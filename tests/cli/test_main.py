"""The command line as a whole: what it says first, how it answers mistakes, how it leaves."""

import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from commands import Answer, Command, Refusal

from loopverse import cli, registry
from loopverse.cli import main
from loopverse.cli.overview import COMMANDS
from loopverse.errors import UserError
from loopverse.training import Stopped


def in_new_process(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def processor_seconds_of_children() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@pytest.mark.parametrize("words", [[], ["--help"], ["domains"], ["--version"], ["sample", "-h"]])
def test_a_command_that_needs_no_torch_does_not_import_it(words: list[str]) -> None:
    code = (
        f"import sys; from loopverse.cli import main; status = main({words}); "
        "sys.exit(status or int('torch' in sys.modules or 'hydra' in sys.modules))"
    )
    before = processor_seconds_of_children()
    done = in_new_process("-c", code)
    assert done.returncode == 0, done.stderr
    assert processor_seconds_of_children() - before < 1.0


def test_python_m_loopverse_is_loopverse() -> None:
    with_m = in_new_process("-m", "loopverse", "chekc", "toy")
    script = in_new_process(
        "-c", "import sys; from loopverse.cli import main; sys.exit(main(['chekc', 'toy']))"
    )
    assert with_m.returncode == script.returncode == 2
    assert with_m.stderr == script.stderr
    assert "did you mean 'check'?" in with_m.stderr


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",), ("help",)])
def test_the_overview_names_every_command(loopverse: Command, words: tuple[str, ...]) -> None:
    answer = loopverse(*words)
    assert answer.status == 0
    assert all(f"  {name}" in answer.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_shows_what_to_type(loopverse: Command, name: str) -> None:
    answer = loopverse(name, "--help")
    assert answer.status == 0
    assert answer.err == ""
    assert f"loopverse {name} " in answer.out
    assert max(map(len, answer.out.splitlines())) <= 120


def test_an_unknown_command_is_answered_with_the_nearest(refusal: Refusal) -> None:
    assert refusal("evalute").startswith("unknown command 'evalute'; did you mean 'evaluate'?")


def test_a_command_of_ours_wins_over_one_of_a_package(
    refusal: Refusal, loopverse: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {
        name: EntryPoint(name, "no_such_package:command", registry.COMMANDS)
        for name in ("report", "reports")
    }
    monkeypatch.setattr(registry, "command_entry_points", lambda: points)
    assert refusal("report", "nowhere") == "there is no run folder nowhere"
    assert "is registered as no_such_package:command" in refusal("reports")
    assert (
        "did you mean 'reports'? known: calibrate, check, compare, diagnose, domains, evaluate, new, report, reports, sample"
        in (refusal("reportss"))
    )
    assert loopverse("--help").out.count("  report ") == 1


def test_a_value_error_of_a_package_that_brings_nothing_but_a_command_is_one_line(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ("def command(arguments):", "    raise ValueError(f'expected no {arguments[0]}')", "")
    (tmp_path / "lonely.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    points = {"lonely": EntryPoint("lonely", "lonely:command", registry.COMMANDS)}
    monkeypatch.setattr(registry, "command_entry_points", lambda: points)
    assert refusal("lonely", "friends") == "expected no friends"


@pytest.mark.parametrize("name", cli.__all__)
def test_what_a_command_is_made_of_is_public(name: str) -> None:
    assert callable(getattr(cli, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cli.nothing


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("sample",), "the following arguments are required: RUN"),
        (("sample", "x", "--promt", "a"), "unknown option --promt; did you mean --prompt?"),
        (("sample", "x", "y"), "y is one too many"),
        (("sample", "x", "--loops", "0"), "the number of loops must be 1 or more, got 0"),
        (("evaluate", "x", "--loops", "1,b"), "expected whole numbers, such as 1,2,4,8, got 1,b"),
        (("evaluate", "x", "--loops", "0,1"), "the number of loops must be at least 1, got 0,1"),
        (("sample", "nowhere"), "there is no run folder nowhere"),
        (("evaluate", "nowhere"), "there is no run folder nowhere"),
        (("report", "nowhere"), "there is no run folder nowhere"),
        (("check",), "the following arguments are required: NAME; see"),
        (("check", "tyo"), "unknown domain 'tyo'; did you mean 'toy'?"),
    ],
)
def test_a_wrong_line_is_refused_in_one_line(
    refusal: Refusal, words: tuple[str, ...], answer: str
) -> None:
    assert answer in refusal(*words)


class Failing:
    """Stands for a command that ends with an error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def command(self, _: list[str]) -> int:
        raise self.error


@pytest.fixture
def failing(loopverse: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    def run(error: BaseException) -> Answer:
        monkeypatch.setattr("loopverse.cli.import_module", lambda _: Failing(error))
        return loopverse("domains")

    return run


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("expected this,\n got that"), "expected this, got that"),
        (PermissionError(13, "Permission denied", "runs/a"), "runs/a: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("the network is down"), "the network is down"),
    ],
)
def test_what_the_user_or_the_system_did_is_one_line(
    failing: Callable[..., Answer], error: Exception, line: str
) -> None:
    answer = failing(error)
    assert (answer.status, answer.out, answer.err) == (2, "", f"loopverse: {line}\n")


def test_a_bug_shows_its_traceback(failing: Callable[..., Answer]) -> None:
    answer = failing(RuntimeError("a bug"))
    assert answer.status == 1
    assert answer.err.startswith("Traceback")
    assert answer.err.endswith("RuntimeError: a bug\n")


def test_a_value_error_within_another_library_is_a_bug(
    loopverse: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(_: list[str]) -> int:
        return torch.nn.functional.cross_entropy(torch.zeros(2, 3), torch.zeros(3).long())

    stand_in = type("Module", (), {"command": staticmethod(command)})
    monkeypatch.setattr("loopverse.cli.import_module", lambda _: stand_in)
    answer = loopverse("domains")
    assert answer.status == 1
    assert answer.err.startswith("Traceback")


def test_a_traceback_can_be_asked_for(
    failing: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPVERSE_TRACEBACK", "1")
    answer = failing(UserError("mine"))
    assert answer.status == 2
    assert answer.err.startswith("Traceback")


def test_ctrl_c_leaves_with_130(failing: Callable[..., Answer]) -> None:
    answer = failing(KeyboardInterrupt())
    assert (answer.status, answer.err) == (130, "loopverse: interrupted\n")


def test_a_training_that_was_stopped_says_where(failing: Callable[..., Answer]) -> None:
    answer = failing(Stopped(Path("runs/a"), 3, 10, signal.SIGTERM))
    assert (answer.status, answer.err) == (
        143,
        "loopverse: stopped and saved at step 3 of 10: runs/a\n",
    )


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_a_reader_that_stops_reading_is_no_error(word: str) -> None:
    code = (
        "import os, sys; from loopverse.cli import main; reader, writer = os.pipe(); "
        f"os.dup2(writer, 1); os.close(reader); os.close(writer); sys.exit(main([{word!r}]))"
    )
    done = in_new_process("-c", code)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_warning_is_one_line(loopverse: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(_: list[str]) -> int:
        warnings.simplefilter("always")
        warnings.warn("look\nout", stacklevel=1)
        return 0

    stand_in = type("Module", (), {"command": staticmethod(command)})
    monkeypatch.setattr("loopverse.cli.import_module", lambda _: stand_in)
    answer = loopverse("domains")
    assert (answer.status, answer.err) == (0, "loopverse: warning: look out\n")


def test_main_takes_the_words_of_the_process_when_none_are_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["loopverse", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("loopverse 0.")

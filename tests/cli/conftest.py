"""What the tests of the command line share: commands in this process, and a toy to train."""

import signal
from pathlib import Path
from typing import NoReturn

import pytest
import toy
from commands import Answer, Command, Refusal

from loopverse import registry
from loopverse.cli import main
from loopverse.cli import train as cli
from loopverse.training import Stopped


@pytest.fixture(autouse=True)
def _toy_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "domain_entry_points", registry.domain_entry_points)
    monkeypatch.setenv("COLUMNS", "100")
    toy.register()


@pytest.fixture
def loopverse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """`loopverse("train", "core=plain")` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Answer:
        capfd.readouterr()
        status = main(words)
        return Answer(status, *capfd.readouterr())

    return run


@pytest.fixture
def refusal(loopverse: Command) -> Refusal:
    """The one line with which a command is refused, without `loopverse: `."""

    def run(*words: str) -> str:
        answer = loopverse(*words)
        assert answer.status == 2, answer
        assert answer.err.count("\n") == 1, answer.err
        assert answer.out == ""
        start, _, line = answer.err.rstrip("\n").partition(": ")
        assert start == "loopverse"
        return line

    return run


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Training that a signal stops at once; holds the seeds of what was started."""
    seeds: list[int] = []
    train = cli.train

    def interrupted(config=None, *, run=None, reporter=None) -> NoReturn:
        if config is not None:
            seeds.append(config.seed)
        ended = train(config, run=run)
        raise Stopped(ended.folder.path, ended.progress.step, 100, signal.SIGINT)

    monkeypatch.setattr(cli, "train", interrupted)
    return seeds

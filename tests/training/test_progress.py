"""How training looks while it runs."""

import io
from pathlib import Path

import pytest
import toy
from rich.console import Console

from loopverse.training import PlainReporter, RichReporter, train
from loopverse.training.progress import Pulse, console_reporter


def row(step: int, **values: float) -> dict:
    usual = {"loss": 2.0, "units_per_second": 1500.0, "depth": 4, "seconds": step / 2}
    return {"step": step, "split": "train", **usual, **values}


def test_the_line_shows_step_loss_metric_depth_speed_and_time_left() -> None:
    pulse = Pulse("bits_per_byte", 0, 100, value=1.25, unit="tokens")
    pulse.trained(row(1))
    pulse.trained(row(2))
    assert str(pulse) == (
        "step 2/100  loss 2.000  bits_per_byte 1.250  depth 4  1.5k tokens/s  0:00:49 left"
    )


def test_nothing_is_shown_that_is_not_known_yet() -> None:
    assert str(Pulse("bits_per_byte", 7, 100)) == "step 7/100"


def test_the_loss_is_smoothed() -> None:
    pulse = Pulse("bits_per_byte", 0, 100)
    for step, loss in enumerate([2.0, 3.0], 1):
        pulse.trained(row(step, loss=loss))
    assert pulse.loss == pytest.approx(2.05)


def test_plain_lines_tell_the_folder_and_every_evaluation(tmp_path: Path) -> None:
    written = io.StringIO()
    reporter = PlainReporter(Console(file=written, width=200), every=0)
    train(toy.toy_config(tmp_path), reporter=reporter)
    lines = written.getvalue().splitlines()
    assert lines[0] == f"training: {tmp_path / 'run'}"
    assert sum("nats_per_bit" in line and "held out" in line for line in lines) == 2
    assert any(line.startswith("step 4/6  loss") and " bits/s  " in line for line in lines)


def test_a_terminal_gets_a_line_that_is_redrawn(tmp_path: Path) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=200)
    reporter = console_reporter(console)
    assert isinstance(reporter, RichReporter)
    train(toy.toy_config(tmp_path), reporter=reporter)
    assert "step 6/6" in written.getvalue()
    assert isinstance(console_reporter(Console(file=io.StringIO())), PlainReporter)


def test_without_a_reporter_training_is_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(toy.toy_config(tmp_path))
    assert capfd.readouterr() == ("", "")

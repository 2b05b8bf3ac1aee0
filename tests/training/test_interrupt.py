"""Ctrl-C and SIGTERM: once is a request, twice is an order."""

import os
import signal

import pytest

from loopverse.training import interrupt
from loopverse.training.interrupt import Interrupt


def test_the_first_signal_is_noted_and_nothing_is_interrupted() -> None:
    with Interrupt() as asked:
        assert asked.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.signal == signal.SIGTERM


def test_a_launcher_that_repeats_the_signal_does_no_harm() -> None:
    with Interrupt() as asked:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert asked.signal == signal.SIGINT


def test_a_second_ctrl_c_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "PATIENCE", -1.0)
    with Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupt():
        pass
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

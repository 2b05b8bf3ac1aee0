"""Ctrl-C and SIGTERM: asked once, training finishes its step, saves and leaves."""

import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

PATIENCE = 1.0
"""Seconds after the first Ctrl-C in which another is taken for the same one (launchers repeat it)."""


class Stopped(KeyboardInterrupt):
    """A signal stopped a training; it is saved, and goes on from there.

    It is a `KeyboardInterrupt`, so that Ctrl-C also ends a loop over many trainings.

    Attributes:
        folder: of the run.
        step: how far it came.
        steps: how far it should come.
        signal: the number of the signal.
    """

    def __init__(self, folder: Path, step: int, steps: int, signal: int) -> None:
        super().__init__(folder, step, steps, signal)  # all of it, to be pickled
        self.folder, self.step, self.steps, self.signal = folder, step, steps, signal

    def __str__(self) -> str:
        return f"stopped and saved at step {self.step} of {self.steps}: {self.folder}"

    @property
    def status(self) -> int:
        """The exit status of a process that a signal ended."""
        return 128 + self.signal


class Interrupt:
    """Inside this context, notes the first signal; a second Ctrl-C stops at once.

    Attributes:
        signal: the number of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows none
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._when = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() > self._when + PATIENCE:
            raise KeyboardInterrupt

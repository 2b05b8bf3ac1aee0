"""How training looks while it runs: a live line on a terminal, plain lines elsewhere, or nothing."""

import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from loopverse.domain import DomainAdapter
from loopverse.training.checkpoint import Progress
from loopverse.training.rows import Row
from loopverse.training.runs import RunFolder

SMOOTHING = 0.95
"""Share of the past in the loss and the speed that are shown."""


class Reporter:
    """Is told how training goes. This one keeps it to itself."""

    @contextmanager
    def watching(
        self, folder: RunFolder, progress: Progress, steps: int, domain: DomainAdapter
    ) -> Iterator[None]:
        """Around the whole training, from `progress` to `steps`; `domain` names what is counted."""
        yield

    def trained(self, row: Row) -> None:
        """A training step is done, and its figures are known."""

    def evaluated(self, row: Row) -> None:
        """An evaluation is done."""

    def saved(self, step: int) -> None:
        """A checkpoint is on disk."""


@dataclass
class Pulse:
    """The figures that are shown, smoothed.

    Attributes:
        metric: name of the headline metric.
        step: steps done.
        steps: steps in all.
        loss: of training.
        value: the headline metric, last time it was measured.
        depth: loops of the last step.
        speed: units a second.
        pace: seconds a step takes, evaluation and checkpoints included.
        unit: what units are called.
    """

    metric: str
    step: int
    steps: int
    loss: float | None = None
    value: float | None = None
    depth: float = 0.0
    speed: float | None = None
    pace: float | None = None
    unit: str = "units"
    _seconds: float | None = None

    def trained(self, row: Row) -> None:
        """Take in a training step."""
        if self._seconds is not None:
            self.pace = _smooth(self.pace, row["seconds"] - self._seconds)
        self.loss = _smooth(self.loss, row["loss"])
        self.speed = _smooth(self.speed, row["units_per_second"])
        self.step, self.depth, self._seconds = row["step"], row["depth"], row["seconds"]

    def __str__(self) -> str:
        parts = [f"step {self.step}/{self.steps}"]
        if self.loss is not None:
            parts += [f"loss {self.loss:.3f}"]
        if self.value is not None:
            parts += [f"{self.metric} {self.value:.3f}"]
        if self.speed is not None:
            parts += [f"depth {self.depth:.3g}", f"{_count(self.speed)} {self.unit}/s"]
        if self.pace is not None and self.step < self.steps:
            left = timedelta(seconds=round(self.pace * (self.steps - self.step)))
            parts += [f"{left} left"]
        return "  ".join(parts)


class ConsoleReporter(Reporter):
    """What the two reporters that show something have in common.

    Args:
        console: where to write; default: standard error, so that results alone are on standard out.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.pulse = Pulse("", 0, 0)

    @contextmanager
    def watching(
        self, folder: RunFolder, progress: Progress, steps: int, domain: DomainAdapter
    ) -> Iterator[None]:
        self.pulse = Pulse(domain.metric, progress.step, steps, unit=domain.unit)
        verb = f"going on from step {progress.step}" if progress.step else "training"
        self.say(f"{verb}: {folder.path}")
        with self.showing():
            yield

    def trained(self, row: Row) -> None:
        self.pulse.trained(row)
        self.show()

    def evaluated(self, row: Row) -> None:
        self.pulse.value = row[self.pulse.metric]
        self.say(f"step {row['step']}: {self.pulse.metric} {self.pulse.value:.4f} held out")

    def say(self, line: str) -> None:
        """Write a line that stays."""
        self.console.print(line, soft_wrap=True, markup=False)

    @contextmanager
    @abstractmethod
    def showing(self) -> Iterator[None]:
        """Around the training steps."""
        yield

    @abstractmethod
    def show(self) -> None:
        """Show the pulse, which has changed."""


class PlainReporter(ConsoleReporter):
    """A line now and then, for logs and pipes.

    Args:
        console: where to write; default: standard error.
        every: seconds between lines.
    """

    def __init__(self, console: Console | None = None, every: float = 10.0) -> None:
        super().__init__(console)
        self.every = every
        self._last = time.monotonic()

    @contextmanager
    def showing(self) -> Iterator[None]:
        yield

    def show(self) -> None:
        if time.monotonic() - self._last >= self.every:
            self._last = time.monotonic()
            self.say(str(self.pulse))


class RichReporter(ConsoleReporter):
    """A bar and a line that are redrawn, for terminals."""

    @contextmanager
    def showing(self) -> Iterator[None]:
        columns = (BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
        # Twice a second: every redraw takes time from training on the same cores.
        with Bar(*columns, console=self.console, refresh_per_second=2) as self._bar:
            self._task = self._bar.add_task(
                str(self.pulse), total=self.pulse.steps, completed=self.pulse.step
            )
            yield

    def show(self) -> None:
        self._bar.update(self._task, completed=self.pulse.step, description=str(self.pulse))


def console_reporter(console: Console | None = None) -> ConsoleReporter:
    """The reporter that fits the console: redrawn on a terminal, lines elsewhere."""
    console = console or Console(stderr=True, highlight=False)
    return RichReporter(console) if console.is_terminal else PlainReporter(console)


def _smooth(before: float | None, new: float) -> float:
    return new if before is None else SMOOTHING * before + (1 - SMOOTHING) * new


def _count(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"

"""`loopverse train`: Hydra reads the line, runs it once or sweeps over it; training does the rest."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from loopverse.cli.mistakes import say
from loopverse.cli.outcome import (
    complete,
    finished,
    finished_in_sweep,
    stopped,
    sweep_finished,
)
from loopverse.cli.settings import show_settings
from loopverse.errors import UserError
from loopverse.training import Run, RunFolder, Stopped, train
from loopverse.training.compose import build, compose
from loopverse.training.explain import explained
from loopverse.training.names import check_overrides, likely_settings, parsed, trials
from loopverse.training.progress import console_reporter
from loopverse.training.sources import HYDRA_VERSION, MAIN_FILE, config_folder, register


def command(arguments: list[str]) -> int:
    """Train what the overrides say, or go on with `run=PATH`."""
    if {"-h", "--help"} & set(arguments):
        show_settings([word for word in arguments if not word.startswith("-")])
        return 0
    options, overrides = _sorted(arguments)
    paths = [word.removeprefix("run=") for word in overrides if word.startswith("run=")]
    if paths:
        others = [*options, *(word for word in overrides if not word.startswith("run="))]
        return _resume(paths[-1].strip("'\""), others + paths[:-1])
    jobs = Jobs(overrides)
    register()
    with explained(overrides):
        check_overrides(overrides)
        if {"-m", "--multirun"} & set(options):
            for trial in trials(overrides):  # before Hydra makes a folder for the sweep
                compose(trial)
        with _line_for_hydra([*options, *overrides]):
            hydra.main(str(config_folder()), MAIN_FILE, HYDRA_VERSION)(jobs)()
    if jobs.failure is not None:
        raise jobs.failure
    sweep_finished(jobs.done)
    return jobs.status


@dataclass
class Jobs:
    """What Hydra calls: once, or for every job of a sweep, where one that fails stops no other.

    Attributes:
        overrides: of the whole line, sweeps included.
        status: exit status so far.
        failure: why the only job failed.
        done: the runs of a sweep so far.
    """

    overrides: Sequence[str]
    status: int = 0
    failure: Exception | None = None
    done: list[Run] = field(default_factory=list)

    def __call__(self, values: DictConfig) -> None:
        """Run one job.

        Raises:
            SystemExit: a signal stopped it, and the sweep with it.
        """
        job = HydraConfig.get()
        name = self._name(job) if job.mode == RunMode.MULTIRUN else ""
        try:
            overrides = list(job.overrides.task)
            with explained(overrides):
                config = build(values, job.runtime.choices, overrides)
            if name:
                config.runs, config.name = str(job.sweep.dir), name
            run = train(config, reporter=console_reporter())
            if name:
                self.done.append(run)
                finished_in_sweep(run)
            else:
                finished(run)
        except Stopped as stop:
            raise SystemExit(stopped(stop)) from None
        except Exception as error:
            if name:
                self.status = max(self.status, say(error, name))
            else:
                self.failure = error

    def _name(self, job: HydraConf) -> str:
        """The folder of a job in its sweep: its number and what sets it apart."""
        swept = {o.get_key_element() for o in parsed(self.overrides) if o.is_sweep_override()}
        apart = [word for word in job.overrides.task if word.partition("=")[0] in swept]
        return "-".join(
            [str(job.job.num), *re.sub(r"[^\w.,=+-]", "_", ",".join(apart))[:100].split()]
        )


def _resume(path: str, others: Sequence[str]) -> int:
    if others:
        raise UserError(
            f"run={path} goes on with the settings the run was started with: leave out "
            f"{' '.join(others)}, or leave out run= to start a new run"
        )
    if not path:
        raise UserError("run= needs a run folder to go on with, such as run=runs/NAME")
    folder = RunFolder.open(path)
    if complete(folder):
        steps = folder.config.training.steps
        print(f"{path} is finished: all {steps} steps are done")
        return 0
    try:
        run = train(run=folder, reporter=console_reporter())
    except Stopped as stop:
        return stopped(stop)
    finished(run)
    return 0


def _sorted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's options, and the overrides; options may stand anywhere."""
    parser = get_args_parser()
    parser.error = _refuse_option
    overrides: list[str] = parser.parse_intermixed_args(list(arguments)).overrides
    options = list(arguments)
    for override in overrides:
        options.remove(override)
    return options, overrides


def _refuse_option(message: str) -> NoReturn:
    word = re.search(r"unrecognized arguments: -*([\w-]+)", message)
    if word is None:
        raise UserError(f"{message}; see `loopverse train --help`")
    guesses = likely_settings(word[1].replace("-", "_"))
    example = guesses[0] if guesses else "training.steps"
    raise UserError(
        f"there is no option --{word[1]}: settings are written key=value, such as {example}=VALUE"
    )


@contextmanager
def _line_for_hydra(arguments: Sequence[str]) -> Iterator[None]:
    """Hydra takes its arguments from `sys.argv`, and hands on errors only when asked to."""
    line, errors = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["loopverse", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = line
        if errors is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = errors

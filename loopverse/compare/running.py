"""Running the jobs of a study with Hydra's launchers: one after the other, or wherever a launcher puts them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import hydra
from filelock import FileLock, Timeout
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from loopverse.compare.energy import Meter, add_joules
from loopverse.compare.jobs import RUNS, Job, note_failure
from loopverse.compare.workers import end_with
from loopverse.errors import UserError
from loopverse.training import RunFolder, Stopped, train
from loopverse.training.compose import build
from loopverse.training.files import discard
from loopverse.training.sources import HYDRA_VERSION, MAIN_FILE, config_folder, register


def run_jobs(
    jobs: Sequence[Job], folder: Path, launcher: Sequence[str] = (), quiet: bool = False
) -> None:
    """Train what is not trained yet; a run that fails leaves its reason behind and stops no other.

    Args:
        jobs: of the study; those that are finished are left alone, and those that were begun go on.
        folder: of the study.
        launcher: how, in Hydra's words: `hydra/launcher=joblib hydra.launcher.n_jobs=2`.
        quiet: say nothing of each run.

    Raises:
        ValueError: another process runs this study, or no such launcher.
        Stopped: a signal stopped a run, which is saved.
    """
    todo = {job.name: job for job in jobs if not job.finished}
    if not todo:
        return
    (folder / RUNS).mkdir(parents=True, exist_ok=True)
    names = {name: str(job) for name, job in todo.items()}
    try:
        with FileLock(folder / ".lock", timeout=0):
            _launch([job.line for job in todo.values()], Task(names, quiet), folder, launcher)
    except Timeout as error:
        raise UserError(
            f"{folder} is being run by another process: wait for it, watch it with "
            f"`loopverse compare --watch {folder}`, or choose another --folder"
        ) from error


@dataclass
class Task:
    """What a launcher calls for every job, here or in a process of its own.

    Attributes:
        titles: of the jobs, by the names of their run folders.
        quiet: say nothing.
        parent: number of the process that conducts the study.
    """

    titles: dict[str, str]
    quiet: bool = False
    parent: int = field(default_factory=os.getpid)

    def __reduce__(self) -> tuple[Any, ...]:
        return _task, astuple(self)  # a fresh process has to know our settings first

    def __call__(self, values: DictConfig) -> None:
        """Train one run, or go on with it.

        Raises:
            Stopped: a signal stopped it; it is saved.
        """
        end_with(self.parent)
        job = HydraConfig.get()
        config = build(values, job.runtime.choices, list(job.overrides.task))
        path, began = Path(config.runs) / config.name, time.perf_counter()
        note_failure(path.parent, path.name, "")
        energy = path.parent / f"{path.name}.energy.json"
        anew, meter = not (path / "run.json").exists(), Meter()
        meter.start()
        try:
            if not anew:
                run = train(run=RunFolder.open(path))
            else:
                if path.exists():  # half-written: its run was killed before it was set up
                    discard(path)
                run = train(config)
        except Stopped:
            add_joules(energy, meter.joules(), anew)
            raise
        except Exception as error:  # whatever it is, it is a row of the table
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            note_failure(path.parent, path.name, reason)
            self._say(job.job.num, path.name, f"failed, {reason}")
            return
        add_joules(energy, meter.joules(), anew)
        summary = run.folder.summary or {}
        value = summary.get("value")
        told = "no metric" if value is None else f"{summary['metric']} {value:.4g}"
        self._say(job.job.num, path.name, f"{told}, {time.perf_counter() - began:.0f} s")

    def _say(self, number: int, name: str, what: str) -> None:
        if not self.quiet:
            title = self.titles.get(name, name)
            print(f"[{number + 1}/{len(self.titles)}] {title}: {what}", flush=True)


def _task(titles: dict[str, str], quiet: bool, parent: int) -> Task:
    register()
    return Task(titles, quiet, parent)


def _launch(lines: list[list[str]], task: Task, folder: Path, words: Sequence[str]) -> None:
    register()
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(config_folder()), version_base=HYDRA_VERSION):
            loader = GlobalHydra.instance().config_loader()
            overrides = [f"hydra.sweep.dir={folder}", *words]
            try:
                config = loader.load_configuration(MAIN_FILE, overrides, RunMode.MULTIRUN)
            except HydraException as error:
                raise UserError(" ".join(str(error).split("\n")[0].split())) from error
            context = HydraContext(config_loader=loader, callbacks=Callbacks(config))
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=context, task_function=task, config=config
            )
            for done in launcher.launch(lines, initial_job_idx=0):
                _ = done.return_value  # raises what a job of ours never should
    finally:
        GlobalHydra.instance().hydra = outer

"""What a training run works with: built once, from a configuration and, on resume, a run folder."""

import atexit
import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, broadcast_object_list
from tensordict import TensorDict
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

import loopverse
from loopverse.domain import DomainAdapter
from loopverse.errors import UserError
from loopverse.model import LoopedModel
from loopverse.training import checkpoint, precision, starting
from loopverse.training.build import build_model
from loopverse.training.checkpoint import Progress
from loopverse.training.config import TrainConfig
from loopverse.training.ema import Average
from loopverse.training.evaluation import evaluate
from loopverse.training.files import write_json
from loopverse.training.probe import loop_figures
from loopverse.training.rows import Row
from loopverse.training.runs import RunFolder
from loopverse.training.seeding import stream
from loopverse.training.tracking import check_trackers, trackers

SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


@dataclass
class Session:
    """The parts of a run, and what can be done with them between steps.

    Attributes:
        config: what the run computes.
        accelerator: the device, and the other processes.
        folder: where the run lies.
        model: the model itself.
        trained: what a step calls: the model, or the model with gradients averaged over processes.
        optimizers: together they own every trainable parameter once.
        average: moving average of the weights, if the run keeps one.
        progress: how far the run is.
        precision: "bf16" or "fp32".
        batches: raw batches of this process, from the next one on.
        best: lowest headline metric of any checkpoint so far.
    """

    config: TrainConfig
    accelerator: Accelerator
    folder: RunFolder
    model: LoopedModel
    trained: nn.Module
    optimizers: list[Optimizer]
    average: Average | None
    progress: Progress
    precision: str
    batches: Iterator[TensorDict]
    best: float

    @classmethod
    def start(cls, config: TrainConfig, folder: RunFolder | None) -> "Session":
        """Build everything; put it where `folder` left off, or make a new folder.

        Nothing is written before the model is built and the first batch is there.

        Raises:
            ValueError: settings that cannot work, a corpus or a folder that cannot be used.
        """
        check_trackers(config.training.trackers)
        accelerator = Accelerator(mixed_precision="no")  # precision is ours: see `precision`
        if accelerator.num_processes > 1:
            atexit.unregister(_leave_group)  # another run in this process may have asked for it
            atexit.register(_leave_group)
        if accelerator.distributed_type in SHARDED:
            raise UserError(
                f"Loopverse trains on one or more processes with whole models, not with "
                f"{accelerator.distributed_type.value}: choose multi-GPU or multi-CPU in "
                "`accelerate config`"
            )
        path = _new_path(config)
        if folder is None:
            RunFolder(path).check_free()  # now, before a corpus is prepared for nothing
            config = starting.settled(config)
        settings = config.training
        latest = folder.latest() if folder is not None else None
        model = build_model(config)
        if folder is not None:
            folder.load_assets(model.adapter)
        if latest is None and settings.start_from:
            starting.start(config, model)
        model.to(accelerator.device)
        if settings.compile:
            model.compile_blocks()
        optimizers = config.optimizer.build(model)
        average = Average(model, settings.ema) if settings.ema is not None else None
        progress = Progress()
        if folder is not None and latest is not None:
            with folder.remedied():
                progress = checkpoint.load(latest, model, optimizers, average)
        batches = model.adapter.batches(
            "train",
            batch_size=settings.batch_size,
            seed=config.seed,
            start=progress.step * settings.accumulate,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
        )
        batches = _endless(model.adapter, batches)
        batches = chain([next(batches)], batches)
        if folder is None:
            folder = _create_together(accelerator, path, config, _facts(accelerator, config, model))
        trained: nn.Module = model
        if accelerator.num_processes > 1:
            # A drawn depth may leave layers of an untied core, or what comes before them, unused.
            trained = DistributedDataParallel(model, find_unused_parameters=True)
        return cls(
            config=config,
            accelerator=accelerator,
            folder=folder,
            model=model,
            trained=trained,
            optimizers=optimizers,
            average=average,
            progress=progress,
            precision=folder.facts["precision"],
            batches=batches,
            best=_lowest(folder),
        )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """While the run is written to: no other process may, and the trackers are open.

        Raises:
            ValueError: another process trains this run.
        """
        if not self.accelerator.is_main_process:
            yield
            return
        with self.folder.held():
            self.folder.rewind(self.progress.step)
            self.folder.save_assets(self.model.adapter)
            if self.config.training.start_from and self.folder.latest() is None:
                self.save(None)  # from here on the other run is not needed
            names = self.config.training.trackers
            with trackers(
                self.accelerator, names, self.folder.path, self.progress.step, self.config
            ):
                yield

    def next_batch(self, number: int) -> tuple[Any, TensorDict]:
        """The id and the prepared batch, on the device, of micro-batch `number` of the run."""
        rank = self.accelerator.process_index
        rng = stream(self.config.seed, number, f"prepare/{rank}")
        batch = self.model.adapter.prepare(next(self.batches), rng)
        name = batch.get("id", None)
        return name, batch.to(self.accelerator.device, non_blocking=True)

    def evaluate(self) -> Row:
        """The row of an evaluation on held-out data, at the depth the schedule names as typical."""
        settings, depth = self.config.training, self.config.schedule.typical()
        with self.average.in_place() if self.average is not None else nullcontext():
            metrics = evaluate(
                self.model,
                depth=depth,
                batch_size=settings.batch_size,
                max_batches=settings.valid_batches,
                precision=self.precision,
                rank=self.accelerator.process_index,
                world_size=self.accelerator.num_processes,
            )
        return {"step": self.progress.step, "split": "valid", "loops": depth, **metrics}

    def look(self, seconds: float) -> Row:
        """The row of how the state moves in each loop; on the main process, nothing on others."""
        if not self.accelerator.is_main_process:
            return {}
        settings, depth = self.config.training, self.config.schedule.typical()
        with self.average.in_place() if self.average is not None else nullcontext():
            figures = loop_figures(
                self.model, depth, batch_size=settings.batch_size, precision=self.precision
            )
        return {"step": self.progress.step, "split": "loops", "seconds": seconds, **figures}

    def save(self, value: float | None) -> Path | None:
        """Save a checkpoint, on the main process; `value` is the headline metric if it is known."""
        if not self.accelerator.is_main_process:
            return None
        progress = replace(self.progress, value=value)
        keep = self.config.training.keep
        return self.folder.save(progress, keep, self.model, self.optimizers, self.average)

    def log(self, row: Row) -> None:
        """Write a row to `metrics.jsonl` and the trackers, on the main process."""
        if not self.accelerator.is_main_process:
            return
        self.folder.rows.append(row)
        figures = {
            f"{row['split']}/{name}": value
            for name, value in row.items()
            if name not in ("step", "split") and value is not None
        }
        self.accelerator.log(figures, step=row["step"])

    def summarise(self, value: float) -> None:
        """Write the outcome, of which `value` is the headline metric, on the main process."""
        if self.accelerator.is_main_process:
            best = self.folder.best()
            summary = {
                **asdict(replace(self.progress, value=value)),
                "metric": self.model.adapter.metric,
                "best": {"checkpoint": best.name if best else None, "value": self.best},
            }
            write_json(self.folder.path / "summary.json", summary)


def _leave_group() -> None:
    """Leave the other processes before Python ends: a group still there may abort one that is done."""
    PartialState().destroy_process_group()


def _endless(adapter: DomainAdapter, batches: Iterator[TensorDict]) -> Iterator[TensorDict]:
    """The batches, and an error where a domain breaks its promise that they never end."""
    count = 0
    for batch in batches:
        yield batch
        count += 1
    raise UserError(
        f'{type(adapter).__name__}.batches("train") must never end, and ended after {count} batches: '
        "start over with the data in another order"
    )


def _facts(accelerator: Accelerator, config: TrainConfig, model: LoopedModel) -> Row:
    """What is settled when a run starts, for `run.json`."""
    device = accelerator.device
    return {
        "loopverse": loopverse.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device.type,
        "precision": precision.resolve(config.training.precision, device),
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _lowest(folder: RunFolder) -> float:
    best = folder.best()
    value = checkpoint.read_progress(best).value if best is not None else None
    return math.inf if value is None else value


def _create_together(
    accelerator: Accelerator, path: Path, config: TrainConfig, facts: Row
) -> RunFolder:
    """Make the run folder on the main process and tell the others where it is."""
    place = [path]
    if accelerator.is_main_process:
        RunFolder.create(path, config, facts)
    return RunFolder(broadcast_object_list(place)[0])


def _new_path(config: TrainConfig) -> Path:
    """Where a new run goes: its name, or its choices and the time, with a number if that is taken."""
    if config.name:
        return Path(config.runs, config.name)
    parts = [config.choices[group] for group in ("domain", "core") if group in config.choices]
    stem = "-".join([*parts, time.strftime("%Y%m%d-%H%M%S")])
    path, number = Path(config.runs, stem), 1
    while path.exists():
        number += 1
        path = Path(config.runs, f"{stem}-{number}")
    return path

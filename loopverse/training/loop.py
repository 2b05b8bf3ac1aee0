"""The training loop. There is no other one in Loopverse."""

import math
import signal
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from loopverse.errors import UserError
from loopverse.training.checkpoint import Progress
from loopverse.training.config import TrainConfig
from loopverse.training.files import refusals_explained
from loopverse.training.interrupt import Interrupt, Stopped
from loopverse.training.late import Late, Reading
from loopverse.training.optim import trainable
from loopverse.training.precision import autocast
from loopverse.training.progress import Reporter
from loopverse.training.runs import RunFolder
from loopverse.training.seeding import seed_everything, stream
from loopverse.training.session import Session


class NonFiniteError(UserError):
    """A loss or a gradient is not finite; nothing of it was saved."""


@dataclass
class Run:
    """A training that is done.

    Attributes:
        folder: where everything lies.
        progress: what it took.
    """

    folder: RunFolder
    progress: Progress


def train(
    config: TrainConfig | None = None,
    *,
    run: RunFolder | Path | str | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Train a new run, or go on with an old one to the same bits as if it had never stopped.

    Everything random at step n follows from (seed, n), and learning rates are functions of n, so
    weights, optimiser state, their average and n are all that a checkpoint holds.

    Args:
        config: what to compute, in a new folder in `config.runs`.
        run: instead: a run folder to go on with, as it was configured.
        reporter: is told how it goes; None is quiet.

    Raises:
        ValueError: settings or files that cannot work; a loss that is no longer finite.
        Stopped: Ctrl-C or SIGTERM stopped it; it finished its step and is saved.
    """
    folder = RunFolder.open(run) if isinstance(run, str | Path) else run
    if (config is None) == (folder is None):
        raise ValueError("train takes a configuration to start a run, or a run to go on with")
    if config is None:
        assert folder is not None
        config = folder.config
    with refusals_explained(folder.path if folder is not None else Path(config.runs)):
        session = Session.start(config, folder)
    settings, progress, accelerator = config.training, session.progress, session.accelerator
    rank, together = accelerator.process_index, accelerator.num_processes > 1
    if reporter is None or not accelerator.is_main_process:
        reporter = Reporter()
    parameters = trainable(session.model)
    clock = time.perf_counter() - progress.seconds
    late = Late()
    stopping = leave = False
    # Of a run that was killed after its last checkpoint, only the summary is missing.
    value = progress.value if progress.step >= settings.steps else None

    def settle(reading: Reading | None) -> None:
        """Check and log a step whose figures have arrived."""
        nonlocal stopping
        if reading is not None:
            stopping |= reading.figures.pop("stop") > 0
            row = reading.row | _finite(reading, session.folder)
            if row["step"] % settings.log_every == 0:
                session.log(row)
            reporter.trained(row)

    with (
        reporter.watching(session.folder, progress, settings.steps, session.model.adapter),
        refusals_explained(session.folder.path),
        session.writing(),
        Interrupt() as interrupt,
    ):
        for step in range(progress.step, settings.steps):
            began = time.perf_counter()
            seed_everything(config.seed, step, f"global/{rank}", accelerator.device)
            rate = _set_rates(session.optimizers, config.rate.factor(step, settings.steps))
            depth = _draw_depth(session, step)
            tally, units, batches = _backward(session, step, depth, interrupt.signal is not None)
            if together:
                torch.distributed.all_reduce(tally)
            loss_sum, weight, stop = tally.unbind()
            weight = weight.clamp(min=1e-9)  # as in Outcome.loss: nothing counted, nothing learned
            norm = _average_and_clip(parameters, weight / accelerator.num_processes, settings.clip)
            for optimizer in session.optimizers:
                optimizer.step()
                optimizer.zero_grad()
            if session.average is not None:
                session.average.update(step)

            progress.step += 1
            progress.units += units
            progress.seconds = time.perf_counter() - clock
            row = {
                "step": progress.step,
                "split": "train",
                "seconds": progress.seconds,
                "units": progress.units,
                "units_per_second": units / (time.perf_counter() - began),
                "rate": rate,
                "depth": float(depth.double().mean()) if isinstance(depth, Tensor) else depth,
            }
            figures = {"loss": loss_sum / weight, "grad_norm": norm, "stop": stop}
            settle(late.push(row, batches, figures))

            last = progress.step == settings.steps
            leave = stopping if together else interrupt.signal is not None
            evaluating = last or progress.step % settings.evaluate_every == 0
            saving = last or leave or progress.step % settings.checkpoint_every == 0
            if evaluating or saving:
                settle(late.flush())  # nothing that is not finite is ever evaluated or saved
            if evaluating:
                row = session.evaluate()
                value = row[session.model.adapter.metric]
                progress.seconds = row["seconds"] = time.perf_counter() - clock
                session.log(row)
                session.log(session.look(row["seconds"]))
                reporter.evaluated(row)
                saving |= value < session.best
                session.best = min(session.best, value)
            if saving:
                session.save(value if evaluating else None)
                reporter.saved(progress.step)
            if leave:
                break
        if value is not None and progress.step >= settings.steps:
            session.summarise(value)
    if leave or interrupt.signal:  # which may have come in the last evaluation
        number = interrupt.signal or signal.SIGTERM  # None where only another process got it
        raise Stopped(session.folder.path, progress.step, settings.steps, number)
    return Run(session.folder, progress)


def _set_rates(optimizers: list[Optimizer], factor: float) -> float:
    """Scale every peak learning rate; returns the first one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
    return optimizers[0].param_groups[0]["lr"]


def _draw_depth(session: Session, step: int) -> int | Tensor:
    """The loops of a step: one number, or one for each sequence of all processes and micro-batches."""
    settings, config = session.config.training, session.config
    return config.schedule.draw(
        settings.batch_size * settings.accumulate * session.accelerator.num_processes,
        progress=step / settings.steps,
        rng=stream(config.seed, step, "depth"),
    )


def _backward(
    session: Session, step: int, depth: int | Tensor, stop: bool
) -> tuple[Tensor, int, list[Any]]:
    """Add up the gradient of the sum of weighted losses over the micro-batches of a step.

    Returns:
        Sum of weighted losses, sum of weights and `stop` as one tensor `[3]`, to be added up over
        processes; units seen by all of them; ids of the batches.
    """
    config, accelerator = session.config, session.accelerator
    count, rank = config.training.accumulate, accelerator.process_index
    shares = [depth] * count
    if isinstance(depth, Tensor):
        shares = list(depth.view(count, accelerator.num_processes, -1)[:, rank])
    tally, units, batches = torch.zeros(3, device=accelerator.device), 0, []
    for number, share in enumerate(shares, step * count):
        name, batch = session.next_batch(number)
        rng = stream(config.seed, number, f"state/{rank}")
        complete = number == (step + 1) * count - 1
        with nullcontext() if complete else accelerator.no_sync(session.trained):
            with autocast(session.precision, accelerator.device):
                outcome = session.trained(batch, share, config.gradient, rng)
            weight = outcome.weights.sum()
            loss_sum = (outcome.losses.float() * outcome.weights).sum()
            if outcome.penalty is not None:
                loss_sum = loss_sum + outcome.penalty * weight
            loss_sum.backward()
        tally = tally + torch.stack([loss_sum.detach(), weight, weight.new_full((), stop)])
        units += outcome.losses.numel() * accelerator.num_processes
        batches.append(number if name is None else name)
    return tally, units, batches


@torch.no_grad()
def _average_and_clip(parameters: list[Parameter], weight: Tensor, clip: float | None) -> Tensor:
    """Turn sums of gradients into means, no longer than `clip`; returns the norm before clipping.

    One pass over the gradients, and no wait for the device.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = get_total_norm(gradients) / weight
    scale = 1 / weight
    if clip is not None:
        scale = scale * (clip / (norm + 1e-6)).clamp(max=1.0)
    # Documented among torch's foreach functions, though its type stubs call it private.
    torch._foreach_mul_(gradients, scale)  # pyright: ignore[reportPrivateImportUsage]
    return norm


def _finite(reading: Reading, folder: RunFolder) -> dict[str, float]:
    """The figures of a step.

    Raises:
        NonFiniteError: one of them is not a number.
    """
    for name, value in reading.figures.items():
        if not math.isfinite(value):
            good = folder.checkpoints()
            raise NonFiniteError(
                f"the {name} is {value} at step {reading.row['step']} (batches "
                f"{', '.join(map(_short, reading.batches))}): look at that data, or lower "
                f"optimizer.lr; the last good checkpoint is {good[-1] if good else 'none yet'}"
            )
    return reading.figures


def _short(name: Any) -> str:
    """A batch id as text: the first few of many."""
    names = name.flatten().tolist() if isinstance(name, Tensor) else name
    return f"{names[:4]}" if isinstance(names, list) else f"{names}"

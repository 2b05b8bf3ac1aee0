"""A pass over held-out data at one or more depths, the same for every domain and every use."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from tensordict import TensorDict

from loopverse.depth import Halting
from loopverse.domain import Outcome
from loopverse.model import LoopedModel
from loopverse.training.precision import autocast
from loopverse.training.seeding import seed_everything, stream

SEED = 0
"""Of all randomness in evaluation, whatever the run's seed, so that runs are measured alike."""


@dataclass
class Measured:
    """One held-out batch at one depth.

    Attributes:
        depth: loops it was read with.
        batch: the prepared batch, on the device; the same for all depths.
        outcome: what the domain made of it.
        seconds: time of the forward pass, the device's work included.
    """

    depth: int
    batch: TensorDict
    outcome: Outcome
    seconds: float


@torch.no_grad()
def held_out(
    model: LoopedModel,
    depths: Sequence[int],
    *,
    batch_size: int,
    max_batches: int | None = None,
    halting: Halting | None = None,
    precision: str = "fp32",
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Measured]:
    """Every batch of the domain's `valid` split at every depth, batch by batch.

    All depths see the same prepared batches and the same draws, so that differences between depths
    are paired; and they take turns, so that a machine that slows down slows all of them.

    Args:
        model: on the device to use; left in the mode it was in.
        depths: loops; the most a unit gets where `halting` is adaptive.
        batch_size: sequences per batch and process.
        max_batches: batches in all, over all processes; None takes the whole split.
        halting: when to stop early; default: never.
        precision: "bf16" or "fp32".
        rank: which share of the split is this process's.
        world_size: number of shares.
    """
    training = model.training
    adapter, device = model.adapter, next(model.parameters()).device
    batches = adapter.batches(
        "valid", batch_size=batch_size, seed=SEED, rank=rank, world_size=world_size
    )
    limit = None if max_batches is None else max(1, max_batches // world_size)
    thinks = {depth: model.bind(depth, seed=SEED, halting=halting) for depth in depths}
    model.eval()
    try:
        for number, batch in enumerate(islice(batches, limit)):
            batch = adapter.prepare(batch, stream(SEED, number, f"valid/{rank}"))
            batch = batch.to(device, non_blocking=True)
            for depth, think in thinks.items():
                seed_everything(SEED, number, f"valid/{rank}", device)
                _synchronize(device)
                began = time.perf_counter()
                with autocast(precision, device):
                    outcome = adapter(think, batch)
                _synchronize(device)
                yield Measured(depth, batch, outcome, time.perf_counter() - began)
    finally:
        model.train(training)


@torch.no_grad()
def evaluate(
    model: LoopedModel,
    *,
    depth: int,
    batch_size: int,
    max_batches: int | None = None,
    halting: Halting | None = None,
    precision: str = "fp32",
    rank: int = 0,
    world_size: int = 1,
) -> dict[str, float]:
    """The domain's metrics on its `valid` split, the headline metric among them.

    The arguments are those of `held_out`; torchmetrics adds the shares of all processes up.
    """
    adapter, device = model.adapter, next(model.parameters()).device
    metrics = {name: metric.to(device) for name, metric in adapter.metrics().items()}
    for measured in held_out(
        model,
        [depth],
        batch_size=batch_size,
        max_batches=max_batches,
        halting=halting,
        precision=precision,
        rank=rank,
        world_size=world_size,
    ):
        adapter.measure(metrics, measured.outcome, measured.batch)
    return {name: float(metric.compute()) for name, metric in metrics.items()}


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)

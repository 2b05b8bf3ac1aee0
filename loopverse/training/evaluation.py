"""A pass over held-out data in one or more ways, the same for every domain and every use."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from tensordict import TensorDict

from loopverse.depth import FixedDepth, Halting, Vote
from loopverse.domain import Outcome
from loopverse.model import LoopedModel
from loopverse.training.precision import autocast
from loopverse.training.seeding import seed_everything, stream

SEED = 0
"""Of all randomness in evaluation, whatever the run's seed, so that runs are measured alike."""


@dataclass(frozen=True, eq=False)
class Way:
    """How deep to read.

    Attributes:
        depth: loops; the most a unit gets where the rule is adaptive.
        halting: when to stop early.
        vote: which loop's readout a prediction is made from.
    """

    depth: int
    halting: Halting = field(default_factory=FixedDepth)
    vote: Vote = field(default_factory=Vote)


@dataclass
class Measured:
    """One held-out batch, read in one way.

    Attributes:
        way: how it was read.
        batch: the prepared batch, on the device; the same for all ways.
        outcome: what the domain made of it.
        seconds: time of the forward pass, the device's work included.
    """

    way: Way
    batch: TensorDict
    outcome: Outcome
    seconds: float


@torch.no_grad()
def held_out(
    model: LoopedModel,
    ways: Sequence[Way],
    *,
    batch_size: int,
    max_batches: int | None = None,
    only: Callable[[int], bool] | None = None,
    precision: str = "fp32",
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Measured]:
    """Every batch of the domain's `valid` split, read in every way, batch by batch.

    All ways see the same prepared batches and the same draws, so that differences between them are
    paired; and they take turns, so that a machine that slows down slows all of them.

    Args:
        model: on the device to use; left in the mode it was in.
        ways: how to read.
        batch_size: sequences per batch and process.
        max_batches: batches in all, over all processes; None takes the whole split.
        only: says of a batch's number whether to read it; None reads all.
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
    thinks = {
        way: model.bind(way.depth, seed=SEED, halting=way.halting, vote=way.vote) for way in ways
    }
    model.eval()
    try:
        for number, batch in enumerate(islice(batches, limit)):
            if only is not None and not only(number):
                continue
            batch = adapter.prepare(batch, stream(SEED, number, f"valid/{rank}"))
            batch = batch.to(device, non_blocking=True)
            for way, think in thinks.items():
                seed_everything(SEED, number, f"valid/{rank}", device)
                _synchronize(device)
                began = time.perf_counter()
                with autocast(precision, device):
                    outcome = adapter(think, batch)
                _synchronize(device)
                yield Measured(way, batch, outcome, time.perf_counter() - began)
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

    The arguments are those of `Way` and `held_out`; torchmetrics adds the shares of all processes up.
    """
    adapter, device = model.adapter, next(model.parameters()).device
    metrics = {name: metric.to(device) for name, metric in adapter.metrics().items()}
    for measured in held_out(
        model,
        [Way(depth, halting or FixedDepth())],
        batch_size=batch_size,
        max_batches=max_batches,
        precision=precision,
        rank=rank,
        world_size=world_size,
    ):
        adapter.measure(metrics, measured.outcome, measured.batch)
    return {name: float(metric.compute()) for name, metric in metrics.items()}


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)

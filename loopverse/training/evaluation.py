"""The metrics of a model on held-out data, the same way for every domain."""

from itertools import islice

import torch

from loopverse.depth import Halting
from loopverse.model import LoopedModel
from loopverse.training.precision import autocast
from loopverse.training.seeding import seed_everything, stream

SEED = 0
"""Of all randomness in evaluation, whatever the run's seed, so that runs are measured alike."""


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

    Args:
        model: on the device to use; left in the mode it was in.
        depth: loops; the most a unit gets where `halting` is adaptive.
        batch_size: sequences per batch and process.
        max_batches: batches in all, over all processes; None takes the whole split.
        halting: when to stop early; default: never.
        precision: "bf16" or "fp32".
        rank: which share of the split is this process's.
        world_size: number of shares; torchmetrics adds them up.
    """
    training = model.training
    adapter, device = model.adapter, next(model.parameters()).device
    metrics = {name: metric.to(device) for name, metric in adapter.metrics().items()}
    batches = adapter.batches(
        "valid", batch_size=batch_size, seed=SEED, rank=rank, world_size=world_size
    )
    limit = None if max_batches is None else max(1, max_batches // world_size)
    seed_everything(SEED, 0, f"valid/{rank}")
    think = model.bind(depth, seed=SEED, halting=halting)
    model.eval()
    for number, batch in enumerate(islice(batches, limit)):
        batch = adapter.prepare(batch, stream(SEED, number, f"valid/{rank}"))
        batch = batch.to(device, non_blocking=True)
        with autocast(precision, device):
            outcome = adapter(think, batch)
        adapter.measure(metrics, outcome, batch)
    model.train(training)
    return {name: float(metric.compute()) for name, metric in metrics.items()}

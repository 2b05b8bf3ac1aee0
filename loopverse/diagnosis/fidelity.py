"""How far cheaper gradients are from the full one, on this model and these data."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from tensordict import TensorDict
from torch import Tensor

from loopverse.depth import Full, Implicit, LoopGradient, OneStep, Phantom, Truncated
from loopverse.model import LoopedModel
from loopverse.training.seeding import stream


@dataclass
class Fidelity:
    """What each way to differentiate comes to, one number a batch.

    Attributes:
        cosine: to the full gradient, over all parameters.
        size: norm, that of the full gradient being one.
        time: of a forward and backward pass, that of the full gradient being one.
        refused: why some cannot be used with this model.
    """

    cosine: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    size: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    time: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    refused: dict[str, str] = field(default_factory=dict)


def usual_gradients(depth: int) -> dict[str, LoopGradient]:
    """Ways worth a look at a depth, by name, the full gradient first."""
    truncated = sorted({1, (depth + 1) // 2} - {depth})
    return {
        "full": Full(),
        **{f"truncated, last {k}": Truncated(loops=k) for k in reversed(truncated)},
        "one step": OneStep(),
        "phantom": Phantom(),
        "implicit": Implicit(max_steps=20),
    }


def gradient_fidelity(
    model: LoopedModel, batches: Sequence[TensorDict], depth: int, seed: int
) -> Fidelity:
    """Differentiate the loss of prepared batches in every way.

    Args:
        model: on the device to use; left in the mode it was in, its gradients as they were.
        batches: prepared, on the device.
        depth: loops.
        seed: of random initial states.
    """
    found, training = Fidelity(), model.training
    model.eval()
    try:
        for number, batch in enumerate(batches):
            full, begun = torch.empty(0), 1.0
            for name, gradient in usual_gradients(depth).items():
                if name in found.refused:
                    continue
                try:
                    ours, seconds = _gradient(model, batch, depth, gradient, seed + number)
                except ValueError as error:
                    found.refused[name] = str(error)
                    continue
                if name == "full":
                    full, begun = ours, seconds
                found.cosine[name].append(float(torch.cosine_similarity(ours, full, dim=0)))
                found.size[name].append(float(ours.norm() / full.norm()))
                found.time[name].append(seconds / begun)
    finally:
        model.train(training)
    return found


def _gradient(
    model: LoopedModel, batch: TensorDict, depth: int, gradient: LoopGradient, seed: int
) -> tuple[Tensor, float]:
    """The gradient for all parameters as one vector, and how long it took."""
    parameters = [one for one in model.parameters() if one.requires_grad]
    began = time.perf_counter()
    with torch.enable_grad():
        outcome = model(batch, depth, gradient, stream(seed, 0, "diagnose"))
        parts = torch.autograd.grad(outcome.loss, parameters, allow_unused=True)
    seconds = time.perf_counter() - began
    whole = [
        torch.zeros_like(one) if part is None else part
        for one, part in zip(parameters, parts, strict=True)
    ]
    return torch.cat([part.flatten() for part in whole]).double(), seconds

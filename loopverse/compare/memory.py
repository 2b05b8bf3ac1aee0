"""What a training step keeps in memory, counted tensor by tensor: the same on every machine."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from loopverse.model import LoopedModel
from loopverse.training.config import TrainConfig
from loopverse.training.evaluation import SEED
from loopverse.training.precision import autocast, resolve
from loopverse.training.seeding import stream


def training_memory(model: LoopedModel, config: TrainConfig, batch: TensorDict) -> int:
    """Bytes of weights, their gradients, what the optimiser remembers, and what is kept for the backward pass.

    One step is taken. What passes between two operations and is kept by neither is not counted.

    Args:
        model: on the CPU; its weights are another's afterwards.
        config: what it is trained with.
        batch: a prepared batch, as large as those of training.
    """
    device = torch.device("cpu")
    weights = list(model.parameters())
    own = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    optimizers = config.optimizer.build(model)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        with autocast(resolve(config.training.precision, device), device):
            depth = config.schedule.typical()
            outcome = model(batch, depth, config.gradient, stream(SEED, 0, "memory"))
        loss = outcome.loss
    activations = sum(kept.values())
    trained = [weight for weight in weights if weight.requires_grad]
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    for weight, gradient in zip(trained, gradients, strict=True):
        weight.grad = gradient
    for optimizer in optimizers:
        optimizer.step()
    remembered = [
        value
        for optimizer in optimizers
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    ]
    return (
        activations
        + _bytes(weights)
        + _bytes(g for g in gradients if g is not None)
        + _bytes(remembered)
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values()
    )

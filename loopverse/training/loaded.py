"""A trained model back from its run folder."""

from dataclasses import dataclass
from pathlib import Path

import torch

from loopverse.model import LoopedModel
from loopverse.training import checkpoint as checkpoints
from loopverse.training.build import build_model
from loopverse.training.checkpoint import Progress
from loopverse.training.config import TrainConfig
from loopverse.training.ema import Average
from loopverse.training.runs import RunFolder


@dataclass
class LoadedRun:
    """A run as it is used after training.

    Attributes:
        model: in evaluation mode; with the moving average of the weights where the run kept one.
        config: what it was trained with.
        folder: where it lies.
        step: optimiser steps behind these weights.
    """

    model: LoopedModel
    config: TrainConfig
    folder: RunFolder
    step: int


def load(
    run: str | Path | RunFolder,
    checkpoint: str | int = "best",
    device: torch.device | str | None = None,
) -> LoadedRun:
    """Load a model from a run folder; its corpus need not be there.

    Args:
        run: the run folder.
        checkpoint: "best", "last" or a step.
        device: where to put the model; default: the accelerator there is, else the CPU.

    Raises:
        ValueError: no such run or checkpoint, or a damaged one.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    config = folder.config
    model = build_model(config)
    folder.load_assets(model.adapter)
    progress = read_weights(folder, checkpoint, model)
    if device is None:
        device = torch.accelerator.current_accelerator() or torch.device("cpu")
    return LoadedRun(model.to(device).eval(), config, folder, progress.step)


def read_weights(folder: RunFolder, checkpoint: str | int, model: LoopedModel) -> Progress:
    """Give a model the weights of a checkpoint: the moving average where there is one.

    Raises:
        ValueError: no such checkpoint, a damaged one, or one of another model.
    """
    with folder.remedied():
        source = folder.at(checkpoint)
        average = Average(model, decay=0.0) if checkpoints.has_average(source) else None
        progress = checkpoints.load(source, model, average=average)
    if average is not None:
        average.settle()
    return progress

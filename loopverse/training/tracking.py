"""Trackers beside `metrics.jsonl`: TensorBoard in the run folder, and whatever accelerate knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import (
    LOGGER_TYPE_TO_CLASS,
    GeneralTracker,
    TensorBoardTracker,
    get_available_trackers,
)
from accelerate.utils import LoggerType

from loopverse.errors import UserError, unknown
from loopverse.training.config import TrainConfig

TENSORBOARD = "tensorboard"


def check_trackers(names: list[str]) -> None:
    """Refuse trackers that are unknown or not installed.

    Raises:
        ValueError: which one.
    """
    available = {str(tracker.value) for tracker in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise unknown("tracker", name, LOGGER_TYPE_TO_CLASS)
        if name not in available:
            raise UserError(
                f"tracker {name} is not installed: `pip install {name}`, or leave it out"
            )


@contextmanager
def trackers(
    accelerator: Accelerator, names: list[str], folder: Path, step: int, config: TrainConfig
) -> Iterator[None]:
    """Inside, the trackers `names` are open; figures they have from after `step` are superseded.

    Args:
        accelerator: that will log to them.
        names: by accelerate's names.
        folder: the run folder; its name is the run's name.
        step: steps done already.
        config: what the run computes, for trackers that show settings.
    """
    board = TensorBoardTracker(TENSORBOARD, folder, purge_step=step + 1)
    chosen: list[str | LoggerType | GeneralTracker] = []
    chosen += [board if name == TENSORBOARD else name for name in names]
    accelerator.log_with = chosen
    accelerator.init_trackers("loopverse", init_kwargs={"wandb": {"name": folder.name}})
    try:
        for tracker in accelerator.trackers:
            if tracker.name != TENSORBOARD:  # there it makes a folder of its own for every start
                tracker.store_init_configuration(asdict(config))
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()

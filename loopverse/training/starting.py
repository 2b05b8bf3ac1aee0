"""Starting from the weights of another run: fine-tuning, or more data than there was before.

`training.start_from` names the run, RUN or RUN@CHECKPOINT. Only weights are taken; the optimiser, the
step and what the domain keeps for itself (a vocabulary) begin anew, and so does the head of a learned
halting rule that the other run did not have.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from loopverse.errors import UserError
from loopverse.model import LoopedModel
from loopverse.training.checkpoint import PREFIX, ForeignError
from loopverse.training.config import TrainConfig
from loopverse.training.loaded import read_weights
from loopverse.training.runs import RunFolder


def settled(config: TrainConfig) -> TrainConfig:
    """The configuration with `start_from` as it is kept: an absolute path and a step.

    "last" and "best" mean another checkpoint when that run is trained on; the step does not.

    Raises:
        ValueError: no such run, or no such checkpoint.
    """
    if not config.training.start_from:
        return config
    folder, which = _parts(config.training.start_from)
    with _explained():
        source = RunFolder.open(folder.path).at(which)
    step = int(source.name.removeprefix(PREFIX))
    training = replace(config.training, start_from=f"{folder.path.resolve()}@{step}")
    return replace(config, training=training)


def start(config: TrainConfig, model: LoopedModel) -> None:
    """Give a model the weights that its configuration starts from, averaged where that run averaged.

    A gate or router that the other run had none of stays as it was made.

    Raises:
        ValueError: no such run or checkpoint, or one of a model that has other weights.
    """
    folder, which = _parts(config.training.start_from)
    try:
        with _explained(), _without_new_head(folder, model):
            read_weights(folder, which, model)
    except ForeignError as error:
        raise UserError(
            f"cannot start from {folder.path}: {error.problem}; domain, core and size must be those of "
            f"that run{_differences(folder.config, config)}"
        ) from error


def _parts(where: str) -> tuple[RunFolder, str]:
    """The run folder, not checked, and the checkpoint that `start_from` names."""
    path, at, which = where.rpartition("@")
    if at and (which in ("best", "last") or which.isdecimal()):
        return RunFolder(Path(path)), which
    return RunFolder(Path(where)), "last"


@contextmanager
def _without_new_head(folder: RunFolder, model: LoopedModel) -> Iterator[None]:
    """Leave out a head that the run has no weights for."""
    head = model.head
    if not RunFolder.open(folder.path).config.halting.learned:
        model.head = None
    try:
        yield
    finally:
        model.head = head


@contextmanager
def _explained() -> Iterator[None]:
    """Say which setting names what is not there or damaged."""
    try:
        yield
    except ForeignError:
        raise
    except UserError as error:
        raise UserError(
            f"training.start_from, RUN or RUN@CHECKPOINT (best, last or a step): {error}"
        ) from error


def _differences(there: TrainConfig, here: TrainConfig) -> str:
    pairs = [(there.choices.get(g), here.choices.get(g), g) for g in ("domain", "core", "size")]
    told = [f"{group}: {was} there, {now} here" for was, now, group in pairs if was != now]
    return f" ({'; '.join(told)})" if told else ""

"""First observations of episodes, kept beside a model, so that it can be played in without its data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tensordict import TensorDict

from loopverse.errors import UserError

if TYPE_CHECKING:
    from loopverse_world_model.spaces import Leaf

BEGINNINGS = "beginnings.safetensors"
MOST = 256
MOST_BYTES = 16_000_000
FEWEST = 8


def beginnings_of(records: TensorDict) -> TensorDict:
    """The first observations of the episodes, raw, by leaf; some of them, evenly spaced, where there are many.

    Args:
        records: in the order of their episodes.
    """
    _, lengths = torch.unique_consecutive(records["episode"].cpu(), return_counts=True)
    firsts = lengths.cumsum(0) - lengths
    size = cast(TensorDict, records["observation"][firsts[:1]]).bytes()
    count = min(MOST, max(FEWEST, MOST_BYTES // max(1, size)), len(firsts))
    chosen = firsts[torch.linspace(0, len(firsts) - 1, count).round().long()]
    return records["observation"][chosen].clone()


def save_beginnings(beginnings: TensorDict, folder: Path) -> None:
    """Write them among the assets of a run."""
    values = {str(path): value.contiguous() for path, value in beginnings.items()}
    save_file(values, folder / BEGINNINGS)


def load_beginnings(folder: Path, observed: Sequence[Leaf]) -> TensorDict:
    """Read what `save_beginnings` wrote.

    Args:
        folder: the assets of a run.
        observed: leaves of the observation.

    Raises:
        UserError: it is missing or damaged, or of other spaces.
    """
    path = folder / BEGINNINGS
    try:
        loaded = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} is missing or damaged: copy it from the run the model is of"
        ) from error
    shapes = {name: tuple(value.shape[1:]) for name, value in loaded.items()}
    expected = {leaf.path: leaf.shape for leaf in observed}
    if shapes != expected:
        raise UserError(
            f"{path} is of other observations than this model: expected {expected}, got {shapes}"
        )
    return TensorDict(loaded, batch_size=[len(next(iter(loaded.values())))])

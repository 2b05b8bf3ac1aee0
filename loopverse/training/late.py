"""Figures of a step, read one step later so that reading them never stalls the device."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Reading:
    """What is known of a step.

    Attributes:
        row: its row of `metrics.jsonl`, without the figures.
        batches: ids of its batches, for whoever has to find a broken one.
        figures: tensors of the step on the host, by name.
    """

    row: dict[str, Any]
    batches: list[Any]
    figures: dict[str, float]


class Late:
    """Holds one step back: `push` takes a step and returns the one before it."""

    def __init__(self) -> None:
        self._held: tuple[Reading, list[str], Tensor, torch.cuda.Event | None] | None = None

    def push(
        self, row: dict[str, Any], batches: list[Any], figures: dict[str, Tensor]
    ) -> Reading | None:
        """Take the scalars of a step, without waiting for them; return the step before, if any."""
        before = self.flush()
        stacked = torch.stack([figure.detach().float() for figure in figures.values()])
        arrived = None
        if stacked.device.type == "cuda":
            target = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
            stacked = target.copy_(stacked, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._held = (Reading(row, batches, {}), list(figures), stacked, arrived)
        return before

    def flush(self) -> Reading | None:
        """The step that is held back, if any; waits for its figures."""
        if self._held is None:
            return None
        reading, names, stacked, arrived = self._held
        self._held = None
        if arrived is not None:
            arrived.synchronize()
        reading.figures = dict(zip(names, stacked.tolist(), strict=True))
        return reading

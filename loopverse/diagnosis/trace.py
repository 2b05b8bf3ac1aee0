"""What a model's state does from loop to loop, over several batches."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import fmean

from loopverse.training.probe import Call, Probe


@dataclass
class Trace:
    """What was taken down of several batches, one number for each loop and batch.

    Attributes:
        step: relative change of the state, `||z_i - z_{i-1}|| / ||z_i||`, by loop.
        turn: `cos(z_i - z_{i-1}, z_{i-1} - z_{i-2})`, by loop.
        rank: effective rank of the states, by loop.
        calls: the last call of some batches.
    """

    step: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    turn: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    rank: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    calls: list[Call] = field(default_factory=list)

    def add(self, probe: Probe, keep: bool) -> None:
        """Take in a batch; its last call too, where it is to be kept."""
        for name in ("step", "turn", "rank"):
            for loop, values in vars(probe)[name].items():
                vars(self)[name][loop + 1].append(fmean(values))
        if keep and probe.last is not None:
            self.calls.append(probe.last)

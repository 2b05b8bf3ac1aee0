"""How good a model is at each number of loops, and what every added loop bought."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loopverse.analysis.records import read_record, write_record
from loopverse.analysis.statistics import Estimate, estimate
from loopverse.errors import UserError


@dataclass
class Depth:
    """Held-out metrics at one depth.

    Attributes:
        loops: the depth.
        metrics: over all batches at once, by name.
        batches: the headline metric of each batch.
        seconds_per_unit: of a forward pass; the median over batches.
        flops_per_unit: of a forward pass, counted (`loopverse.analysis.efficiency`).
        sample: what the model makes of an empty prompt, where it was asked and its domain samples.
        example: what it makes of the prompt that its domain names as an example.
    """

    loops: int
    metrics: dict[str, float]
    batches: list[float]
    seconds_per_unit: float
    flops_per_unit: float
    sample: str = ""
    example: str = ""


@dataclass
class DepthTable:
    """One row per depth, on the same held-out batches, so that differences are paired.

    Attributes:
        metric: the headline metric; lower is better.
        trained: loops that training names as typical: what the model is used with.
        step: optimiser steps behind the weights.
        weights: units that count, in each batch.
        precision: "bf16" or "fp32".
        device: what it ran on.
        depths: the rows, shallow to deep.
    """

    metric: str
    trained: int
    step: int
    weights: list[float]
    precision: str
    device: str
    depths: list[Depth]

    @property
    def reference(self) -> Depth:
        """The row that the others are held against: as trained, or the nearest to it below."""
        below = [depth for depth in self.depths if depth.loops <= self.trained]
        return below[-1] if below else self.depths[0]

    def value(self, depth: Depth) -> Estimate:
        """The headline metric at a depth, with its interval over batches."""
        return estimate(depth.batches, self.weights, depth.metrics[self.metric])

    def gain(self, depth: Depth, before: Depth | None = None) -> Estimate | None:
        """How much lower the headline metric is than at the depth before; paired over batches.

        Args:
            depth: the row in question.
            before: the row to hold it against; default: the one above it. None for the first row.
        """
        if before is None:
            place = self.depths.index(depth)
            if place == 0:
                return None
            before = self.depths[place - 1]
        differences = [a - b for a, b in zip(before.batches, depth.batches, strict=True)]
        overall = before.metrics[self.metric] - depth.metrics[self.metric]
        return estimate(differences, self.weights, overall)

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically; figures that are not finite become null."""
        write_record(path, self)

    @classmethod
    def load(cls, path: Path) -> "DepthTable":
        """Read what `save` wrote.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            content = read_record(path)
            depths = [Depth(**row) for row in content.pop("depths")]
            return cls(depths=depths, **content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path} is damaged and cannot be read: write it again with "
                f"`loopverse evaluate {path.parent}`"
            ) from error


def usual_depths(trained: int, most: int | None = None) -> list[int]:
    """Depths worth a look: powers of two up to the trained one, it itself, and twice as many.

    Args:
        trained: loops that the model is used with.
        most: the deepest that the model can run; None: no bound.
    """
    powers = {2**k for k in range(trained.bit_length()) if 2**k <= trained}
    return sorted(n for n in powers | {trained, 2 * trained} if most is None or n <= most)


def check_depths(loops: Sequence[int], most: int | None = None) -> list[int]:
    """The depths that were asked for, in order and once each.

    Raises:
        ValueError: none, one below 1, or one that the model cannot run.
    """
    if not loops:
        raise ValueError("loops must name at least one depth, got none: for example 1,2,4,8")
    if min(loops) < 1:
        raise ValueError(f"the number of loops must be at least 1, got {min(loops)}")
    if most is not None and max(loops) > most:
        raise ValueError(
            f"an untied core of {most} loops cannot run {max(loops)}: "
            "ask for fewer, or train with core.tied=true"
        )
    return sorted(set(loops))

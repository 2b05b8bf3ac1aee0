"""What early exits save, and how far they are from stopping where a unit's prediction is as good as it gets."""

import math
from collections.abc import Sequence
from statistics import median

import torch
from jaxtyping import Int
from torch import Tensor

from loopverse.analysis.calibration import WayRow
from loopverse.analysis.reading import Reading, Readings
from loopverse.analysis.statistics import estimate

Depths = list[Int[Tensor, "b t"]]
"""Loops of each unit of each batch."""


def saturation(fixed: Sequence[Reading], counted: Sequence[Tensor], tolerance: float) -> Depths:
    """The oracle: the first loop after which a unit's loss is as low as it gets, nearly.

    Args:
        fixed: readings with 1, 2, ... loops.
        counted: units that count, of each batch.
        tolerance: how near, as a share of the mean loss with all loops.
    """
    whole = _over(fixed[-1].losses, counted)
    slack = tolerance * abs(float(whole.double().mean()))
    depths = []
    for batch in range(len(counted)):
        losses = torch.stack([reading.losses[batch] for reading in fixed])  # [loops b t]
        good = losses <= losses.amin(0) + slack
        depths.append(good.long().argmax(0) + 1)
    return depths


def mean_depth(depths: Depths, counted: Sequence[Tensor]) -> float:
    """Of the units that count."""
    return float(_over(depths, counted).double().mean())


def rows_of(
    found: Readings, names: Sequence[tuple[str, list[str]]], loops: int, metric: str, oracle: Depths
) -> list[WayRow]:
    """A row for each way, of which the first `loops` are 1, 2, ... loops for all units.

    Args:
        found: what came of the ways.
        names: of each way, and how to ask for it.
        loops: the most.
        metric: the headline metric.
        oracle: where units saturate.
    """
    one, whole = found.ways[0], found.ways[loops - 1]
    loop = (median(whole.seconds) - median(one.seconds)) / (loops - 1)
    in_loops = max(loops * loop, 1e-12)
    reference, rows = whole.value(metric), []
    for reading, (name, words) in zip(found.ways, names, strict=True):
        differences = [a - b for a, b in zip(reading.values, whole.values, strict=True)]
        overall = reading.value(metric) - reference
        margin = estimate(differences, found.weights, overall).margin
        relative = [a / b for a, b in zip(reading.seconds, whole.seconds, strict=True)]
        rows.append(
            WayRow(
                name=name,
                words=words,
                metric=reading.value(metric),
                increase=overall / abs(reference),
                margin=math.nan if margin is None else margin / abs(reference),
                loops=reading.loops,
                distance=_distance(reading.depths, oracle, found.counted),
                seconds=median(relative),
                saved=(1 - median(relative)) * median(whole.seconds) / in_loops,
            )
        )
    return rows


def _distance(depths: Depths, oracle: Depths, counted: Sequence[Tensor]) -> float:
    apart = [(a - b).abs() for a, b in zip(depths, oracle, strict=True)]
    return mean_depth(apart, counted)


def _over(values: Sequence[Tensor], counted: Sequence[Tensor]) -> Tensor:
    return torch.cat([value[where] for value, where in zip(values, counted, strict=True)])

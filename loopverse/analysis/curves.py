"""Columns of `metrics.jsonl` as curves: smoothed, and thinned to what a figure can show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Curve:
    """Some figure over training steps.

    Attributes:
        steps: where it was taken.
        values: what it was.
    """

    steps: list[float]
    values: list[float]

    def __len__(self) -> int:
        return len(self.steps)


def column(rows: Sequence[dict[str, Any]], name: str) -> Curve:
    """A column of `metrics.jsonl`; rows that lack it, or where it was not finite, are left out."""
    known = [row for row in rows if row.get(name) is not None]
    return Curve([float(row["step"]) for row in known], [float(row[name]) for row in known])


def smoothed(curve: Curve, share: float = 0.02) -> Curve:
    """An exponential average that forgets over `share` of the curve and starts without a bias.

    The bias of the start is divided out, as Adam does (Kingma & Ba 2015, section 3).
    """
    keep = 1 - 1 / max(1.0, share * len(curve))
    total = weight = 0.0
    values = []
    for value in curve.values:
        total, weight = keep * total + value, keep * weight + 1
        values.append(total / weight)
    return Curve(curve.steps, values)


def thinned(curve: Curve, most: int = 400) -> Curve:
    """At most `most` points, each the mean of its neighbours."""
    size = -(-len(curve) // most)
    if size <= 1:
        return curve
    starts = range(0, len(curve), size)
    return Curve(
        [_mean(curve.steps[start : start + size]) for start in starts],
        [_mean(curve.values[start : start + size]) for start in starts],
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

"""Intervals around means of few, unequally weighted values."""

import math
from collections.abc import Sequence

from loopverse.exhibit import Estimate


def estimate(
    values: Sequence[float], weights: Sequence[float], value: float | None = None
) -> Estimate:
    """The weighted mean of independent values, with a 95 % interval.

    The variance is that of a ratio estimator, `n/(n-1) sum (w_i/W)^2 (v_i - mean)^2` (Cochran 1977,
    Sampling Techniques, eq. 6.9), so that a short last batch counts for what it is.

    Args:
        values: one per batch (or pair of batches).
        weights: units behind each value.
        value: the centre, where it is known better than by the mean (a metric over all batches
            at once).
    """
    total = sum(weights)
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / total
    centre = mean if value is None else value
    count = len(values)
    if count < 2:
        return Estimate(centre, None)
    spread = sum((w / total * (v - mean)) ** 2 for w, v in zip(weights, values, strict=True))
    deviation = math.sqrt(count / (count - 1) * spread)
    return Estimate(centre, student_quantile(count - 1) * deviation)


def student_quantile(freedom: int, confidence: float = 0.95) -> float:
    """The t within which Student's distribution has `confidence` of its mass, to 1e-9.

    Bisects the distribution, which is a finite sum for whole degrees of freedom (Abramowitz &
    Stegun 1964, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, 1.0
    while _student_mass(high, freedom) < confidence:
        high *= 2
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if _student_mass(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return high


def _student_mass(t: float, freedom: int) -> float:
    """Probability that Student's t lies within plus or minus `t`."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(odd, freedom - 1, 2):
        total += term
        term *= (k + 1) / (k + 2) * math.cos(angle) ** 2
    share = math.sin(angle) * total
    return 2 / math.pi * (angle + share) if odd else share

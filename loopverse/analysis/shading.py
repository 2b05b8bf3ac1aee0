"""How strongly a cell of a heat-map is shaded: the better its number, the stronger."""

import math

from loopverse.exhibit import HeatMap

RATIO = 20
"""From this ratio of the largest to the smallest number on, shades follow their logarithms."""


def shades(chart: HeatMap) -> list[list[float | None]]:
    """A shade from 0 (worst) to 1 (best) for every cell; None where it has no number."""
    low, high = bounds(chart)
    scale = math.log if low > 0 and high / low >= RATIO else float

    def shade(value: float | None) -> float | None:
        if value is None or math.isnan(value):
            return None
        if low == high:
            share = 0.5 if value == low else float(value > low)
        else:
            share = (scale(min(max(value, low), high)) - scale(low)) / (scale(high) - scale(low))
        return 1 - share if chart.lower_is_better else share

    return [[shade(value) for value in row] for row in chart.values]


def bounds(chart: HeatMap) -> tuple[float, float]:
    """The smallest and the largest finite number; (0, 0) where there is none."""
    known = [v for row in chart.values for v in row if v is not None and math.isfinite(v)]
    return (float(min(known)), float(max(known))) if known else (0.0, 0.0)


def legend(chart: HeatMap) -> str:
    """What the shades mean, in a sentence."""
    return f"The stronger the shade, the {'lower' if chart.lower_is_better else 'higher'} and the better."

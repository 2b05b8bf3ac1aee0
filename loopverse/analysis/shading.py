"""How strongly a cell of a heat-map is shaded, or a piece of text: the better its number, the stronger."""

import math
from collections.abc import Sequence

from loopverse.analysis.numbers import label, visible
from loopverse.exhibit import HeatMap, ShadedText

RATIO = 20
"""From this ratio of the largest to the smallest number on, shades follow their logarithms."""
SWATCHES = 9
"""Numbers up to which a legend names each of them."""


def shades(chart: HeatMap) -> list[list[float | None]]:
    """A shade from 0 (worst) to 1 (best) for every cell; None where it has no number.

    Where neither low nor high is better, from 0 (lowest) to 1 (highest).
    """
    every = [value for row in chart.values for value in row]
    return [_shades(row, every, bool(chart.lower_is_better)) for row in chart.values]


def text_shades(text: ShadedText) -> list[float | None]:
    """A shade from 0 (lowest) to 1 (highest) for every piece; None where it has no number."""
    return _shades(text.values, text.values, False)


def swatches(text: ShadedText) -> list[tuple[str, float]]:
    """Numbers and their shades for a legend: all that occur, or five of them where they are many."""
    known = sorted(
        {
            (value, shade)
            for value, shade in zip(text.values, text_shades(text), strict=True)
            if value is not None and shade is not None
        }
    )
    if len(known) > SWATCHES:
        known = [known[round(place * (len(known) - 1) / 4)] for place in range(5)]
    return [(label(value), shade) for value, shade in known]


def readable(piece: str) -> str:
    """A piece as it is shown: line breaks marked, so that their shade is seen, and no tabs."""
    return (
        visible(piece)
        .replace("\t", "    ")
        .replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}\n")
    )


def bounds(chart: HeatMap) -> tuple[float, float]:
    """The smallest and the largest finite number; (0, 0) where there is none."""
    return _bounds([value for row in chart.values for value in row])


def legend(chart: HeatMap) -> str:
    """What the shades mean, in a sentence."""
    if chart.lower_is_better is None:
        low, high = bounds(chart)
        return f"The stronger the shade, the higher the number: from {label(low)} to {label(high)}."
    return f"The stronger the shade, the {'lower' if chart.lower_is_better else 'higher'} and the better."


def _shades(
    values: Sequence[float | None], every: Sequence[float | None], falling: bool
) -> list[float | None]:
    low, high = _bounds(every)
    scale = math.log if low > 0 and high / low >= RATIO else float

    def shade(value: float | None) -> float | None:
        if value is None or math.isnan(value):
            return None
        if low == high:
            share = 0.5 if value == low else float(value > low)
        else:
            share = (scale(min(max(value, low), high)) - scale(low)) / (scale(high) - scale(low))
        return 1 - share if falling else share

    return [shade(value) for value in values]


def _bounds(values: Sequence[float | None]) -> tuple[float, float]:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return (float(min(known)), float(max(known))) if known else (0.0, 0.0)

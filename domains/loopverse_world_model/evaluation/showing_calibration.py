"""Exhibits of calibration."""

from collections.abc import Iterator, Sequence

from loopverse.exhibit import Cell, Curves, Exhibit, Series, TableExhibit
from loopverse_world_model.evaluation.calibration import LEVELS, Calibration, Coverage


def calibration_exhibits(found: Calibration, horizons: Sequence[int]) -> Iterator[Exhibit]:
    """A table for numbers, curves for everything that is given a probability."""
    if found.coverage is not None:
        yield _coverage_table(found.coverage, horizons)
    if found.reliability:
        yield _reliability_curves(found)


def _coverage_table(coverage: Coverage, horizons: Sequence[int]) -> TableExhibit:
    rows: list[list[Cell]] = [
        [str(horizon), *(coverage.share(horizon, level) for level in LEVELS)]
        for horizon in horizons
    ]
    return TableExhibit(
        "Calibration of numbers",
        "The share of numbers of the observation and of rewards that lie in the central interval of what was "
        "predicted; it should be that of the column. More: too unsure; less: too sure. On average it is "
        f"off by {100 * coverage.off:.1f} percentage points.",
        columns=["horizon", *(f"in {100 * level:g} %" for level in LEVELS)],
        rows=rows,
    )


def _reliability_curves(found: Calibration) -> Curves:
    lines = [
        Series(name, one.predicted, *_with_margins(one.happened))
        for name, one in found.reliability.items()
    ]
    off = ", ".join(f"{name} {one.off:.3f}" for name, one in found.reliability.items())
    return Curves(
        "Reliability of probabilities",
        "How often the most likely category was right, a bit was one, or the episode went on, against the "
        "probability given to it, over all horizons; on the diagonal, probabilities are right. Mean "
        f"distance from it: {off}.",
        x_label="probability given",
        y_label="share in which it happened",
        series=[*lines, Series("perfect", [0.0, 1.0], [0.0, 1.0])],
    )


def _with_margins(happened: Sequence) -> tuple[list[float], list[float | None]]:
    return [one.value for one in happened], [one.margin for one in happened]

"""Curves: smoothing without a bias, thinning without a loss of area."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopverse.analysis.curves import Curve, column, smoothed, thinned

VALUES = st.lists(st.floats(-100, 100), min_size=1, max_size=300)


def curve(values: list[float]) -> Curve:
    return Curve([float(step) for step in range(len(values))], values)


@given(st.floats(-10, 10), st.integers(1, 400))
def test_a_constant_stays_constant_from_its_first_step(value: float, length: int) -> None:
    assert smoothed(curve([value] * length)).values == pytest.approx([value] * length)


@given(VALUES)
def test_smoothing_never_leaves_the_range_of_what_came_before(values: list[float]) -> None:
    for i, value in enumerate(smoothed(curve(values), share=0.2).values):
        assert min(values[: i + 1]) - 1e-9 <= value <= max(values[: i + 1]) + 1e-9


@given(st.integers(1, 3000))
def test_a_thinned_line_is_still_that_line(length: int) -> None:
    thin = thinned(curve([2.0 * step for step in range(length)]), most=50)
    assert len(thin) <= 50
    assert thin.values == pytest.approx([2 * step for step in thin.steps])
    assert thin.steps[0] <= length / 50
    assert thin.steps[-1] >= (length - 1) - length / 50


def test_rows_without_the_figure_are_left_out() -> None:
    rows = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": None},
        {"step": 3},
        {"step": 4, "loss": 1},
    ]
    assert column(rows, "loss") == Curve([1.0, 4.0], [2.0, 1.0])

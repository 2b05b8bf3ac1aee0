"""Intervals: quantiles against tables, coverage against draws."""

import random
import statistics

import pytest

from loopverse.analysis.statistics import Estimate, estimate, student_quantile


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (7, 2.3646), (31, 2.0395), (500, 1.9647)],
)
def test_quantiles_of_student_agree_with_the_tables(freedom: int, quantile: float) -> None:
    assert student_quantile(freedom) == pytest.approx(quantile, abs=1e-4)


def test_equal_weights_give_the_textbook_interval() -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    found = estimate(values, [3.0] * 4)
    assert found.value == pytest.approx(statistics.mean(values))
    assert found.margin == pytest.approx(3.182446 * statistics.stdev(values) / 2, rel=1e-6)


def test_a_batch_counts_by_its_weight() -> None:
    assert estimate([1.0, 4.0], [3.0, 1.0]).value == pytest.approx(1.75)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw = random.Random(0)
    weights = [1.0] * 9 + [0.5]  # the last batch is short, and as much noisier
    covered = 0
    for _ in range(2000):
        found = estimate([draw.gauss(3.0, w**-0.5) for w in weights], weights)
        assert found.low is not None
        assert found.high is not None
        covered += found.low < 3.0 < found.high
    assert 0.93 < covered / 2000 < 0.97


def test_one_value_has_no_interval_and_is_never_sure() -> None:
    found = estimate([2.0], [1.0])
    assert (found.value, found.margin, found.low, found.high) == (2.0, None, None, None)
    assert not found.sure


def test_a_difference_is_sure_when_its_interval_leaves_zero_out() -> None:
    assert Estimate(-0.2, 0.1).sure
    assert not Estimate(0.1, 0.2).sure


def test_the_interval_weighs_every_batch_as_the_mean_does() -> None:
    mean, deviation = 1.75, (2 * ((0.75 * 0.75) ** 2 + (0.25 * 2.25) ** 2)) ** 0.5
    found = estimate([1.0, 4.0], [3.0, 1.0])
    assert found.value == mean
    assert found.margin == pytest.approx(12.7062 * deviation, rel=1e-5)

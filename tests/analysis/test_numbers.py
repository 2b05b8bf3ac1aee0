"""Numbers and names as people read them."""

import math

import pytest

from loopverse.analysis.numbers import (
    code,
    count,
    duration,
    interval,
    plain,
    shown,
    signed,
    visible,
)
from loopverse.exhibit import Cell, Estimate


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12, "12"),
        (999, "999"),
        (999.6, "1 k"),
        (1234567, "1.23 M"),
        (870016, "870 k"),
        (2.5e12, "2.5 T"),
        (0.5, "0.5"),
        (123456, "123 k"),
    ],
)
def test_counts_have_three_digits_and_a_prefix(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.23, "0.2 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (192, "3 min 12 s"),
        (3725, "1 h 2 min"),
    ],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.5, "2.500"),
        (0.0, "0.000"),
        (12345.6, "12346"),
        (123.46, "123.5"),
        (1234.56, "1235"),
        (0.01234, "0.01234"),
    ],
)
def test_figures_keep_the_digits_worth_reading(value: float, text: str) -> None:
    assert plain(value) == text


def test_what_is_no_number_is_a_dash() -> None:
    assert plain(None) == plain(math.nan) == "–"
    assert plain(math.inf) == "∞"
    assert plain(-math.inf) == "−∞"


def test_differences_have_their_sign() -> None:
    assert signed(0.01234) == "+0.0123"
    assert signed(-0.5) == "−0.5000"
    assert signed(math.nan) == "–"
    assert interval(Estimate(0.0, 0.25)) == "−0.2500 to 0.2500"
    assert interval(Estimate(0.0, None)) == "–"


def test_text_is_escaped_and_backquotes_become_code() -> None:
    assert code("a <b> `x < 1`") == "a &lt;b&gt; <code>x &lt; 1</code>"


def test_control_characters_are_replaced_but_for_line_breaks_and_tabs() -> None:
    assert visible("a\tb\nc\x00d\x1b[1m é\x85") == "a\tb\nc\ufffdd\ufffd[1m é\ufffd"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "–"),
        ("as it is", "as it is"),
        (-3, "−3"),
        (123456, "123456"),
        (0.5, "0.5000"),
        (float("nan"), "–"),
        (Estimate(0.123456, 0.00678), "0.1235 ± 0.0068"),
        (Estimate(-1234.5, 56.7), "−1234 ± 57"),
        (Estimate(183.25, 12.1), "183 ± 12"),
        (Estimate(2.5, 0.0), "2.500 ± 0.0"),
        (Estimate(2.5, None), "2.500"),
        (Estimate(1e-9, 2e-10), "1.000e−09 ± 2.0e−10"),
        (Estimate(float("inf"), 0.1), "∞ ± 0.10"),
    ],
)
def test_a_cell_has_the_digits_that_its_interval_leaves(cell: Cell, text: str) -> None:
    assert shown(cell) == text

"""Shades of a map: from the worst to the best, whatever there is in between."""

from collections.abc import Sequence

import pytest
from analysis.test_theme import contrast

from loopverse.analysis.exhibit_panels import STRONGEST
from loopverse.analysis.shading import legend, readable, shades, swatches, text_shades
from loopverse.analysis.theme import DARK, LIGHT
from loopverse.exhibit import HeatMap, ShadedText

INF, NAN = float("inf"), float("nan")


def row(values: Sequence[float | None], lower_is_better: bool = True) -> list[float | None]:
    places = list(range(len(values)))
    (found,) = shades(HeatMap("m", "", "x", places, "y", [0], [values], "", lower_is_better))
    return found


def test_the_lowest_is_the_strongest_where_lower_is_better() -> None:
    assert row([1.0, 2.0, 3.0]) == [1.0, 0.5, 0.0]
    assert row([1.0, 2.0, 3.0], lower_is_better=False) == [0.0, 0.5, 1.0]
    assert row([-3, 1, 5]) == [1.0, 0.5, 0.0]


def test_orders_of_magnitude_are_told_apart() -> None:
    assert row([0.01, 0.1, 1.0]) == pytest.approx([1.0, 0.5, 0.0])


def test_what_is_not_finite_is_the_worst_or_has_no_shade() -> None:
    assert row([1.0, None, NAN, INF, 2.0]) == [1.0, None, None, 0.0, 0.0]
    assert row([1.0, INF, -INF, 2.0], lower_is_better=False) == [0.0, 1.0, 0.0, 1.0]


def test_equal_numbers_are_shaded_alike() -> None:
    assert row([2.0, 2.0, None]) == [0.5, 0.5, None]
    assert row([2.0, INF]) == [0.5, 0.0]
    assert row([None, NAN]) == [None, None]


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "card"])
def test_a_number_on_the_strongest_shade_is_legible(colours: dict[str, str], ground: str) -> None:
    over, under = (
        [int(colours[name][i : i + 2], 16) for i in (1, 3, 5)] for name in ("accent", ground)
    )
    mixed = [round(STRONGEST * a + (1 - STRONGEST) * b) for a, b in zip(over, under, strict=True)]
    assert contrast(colours["ink"], "#" + "".join(f"{c:02x}" for c in mixed)) >= 4.5


def test_where_nothing_is_better_more_is_stronger_and_the_legend_says_from_where_to_where() -> None:
    chart = HeatMap("m", "", "x", [1, 2], "y", [0], [[3.0, 1.0]], "", None)
    assert shades(chart) == [[1.0, 0.0]]
    assert legend(chart) == "The stronger the shade, the higher the number: from 1 to 3."


def test_a_text_is_shaded_from_its_lowest_to_its_highest_number() -> None:
    text = ShadedText("t", "", list("abcd"), [2, 4, None, 3])
    assert text_shades(text) == [0.0, 1.0, None, 0.5]
    assert swatches(text) == [("2", 0.0), ("3", 0.5), ("4", 1.0)]


def test_a_legend_of_many_numbers_names_five_of_them() -> None:
    text = ShadedText("t", "", ["a"] * 21, [float(number) for number in range(21)])
    assert [number for number, _ in swatches(text)] == ["0", "5", "10", "15", "20"]


def test_line_breaks_are_seen_and_control_characters_are_not() -> None:
    assert (
        readable("a\tb\n\x1b[2J")
        == "a    b\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}\n\N{REPLACEMENT CHARACTER}[2J"
    )


@pytest.mark.parametrize("values", [[1], [1, True], [1, "2"]])
def test_a_shaded_text_needs_a_number_or_none_for_each_piece(values: list) -> None:
    with pytest.raises(ValueError, match=r"needs a value|must be a number"):
        ShadedText("t", "", ["a", "b"], values)

"""Text shaded by numbers, on terminals with colours and without."""

import io
from itertools import pairwise

import pytest
from analysis.test_theme import contrast, luminance
from rich.console import Console

from loopverse.cli.exhibits import show_exhibits
from loopverse.cli.shaded import style
from loopverse.exhibit import ShadedText

TEXT = ShadedText("Words", "Some.", ["ab", "c\n", "d", "\x1b[2J", "e"], [1, 2, 4, None, 1], "loops")


def printed(exhibit: ShadedText, width: int = 80, colours: str | None = None) -> list[str]:
    console = Console(
        file=io.StringIO(),
        width=width,
        highlight=False,
        force_terminal=colours is not None,
        color_system=colours,  # pyright: ignore[reportArgumentType]  the test's own words
        legacy_windows=False,
        _environ={},
    )
    show_exhibits(console, [exhibit])
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("colours", [None, "standard"])
def test_without_colours_that_can_be_ordered_marks_stand_below_the_text(
    colours: str | None,
) -> None:
    lines = printed(TEXT, colours=colours)
    assert "Words" in lines[0]
    assert lines[1:6] == [
        "  abc↵",
        "    ░░",
        "  d�[2Je",
        "  █····",
        "  loops:    1   ░░ 2   ██ 4   ·· none",
    ]


def test_wide_characters_have_as_many_marks_as_cells() -> None:
    lines = printed(ShadedText("W", "", ["日", "a"], [2, 1]))
    assert lines[1:3] == ["  日a", "  ██"]


def test_long_lines_are_broken_at_the_width_of_the_console_and_keep_their_marks() -> None:
    lines = printed(ShadedText("W", "", list("abcdefghij" * 5), [1] * 25 + [2] * 25), width=42)
    assert lines[1] == "  " + "abcdefghij" * 4
    assert lines[2] == "  " + " " * 25 + "█" * 15
    assert lines[3:5] == ["  abcdefghij", "  " + "█" * 10]


def test_with_colours_the_text_is_whole_and_nothing_in_it_commands_the_terminal() -> None:
    lines = printed(TEXT, colours="truecolor")
    text = "\n".join(lines)
    assert "\x1b[2J" not in text
    assert "48;2;" in lines[1]
    assert "▒" not in text
    plain = "".join(part.partition("m")[2] for part in ("m" + text).split("\x1b["))
    assert "abc↵\n  d�[2Je\n  loops:  1   2   4 " in plain


def test_shades_go_from_light_to_dark_and_what_stands_on_them_is_legible() -> None:
    styles = [style(step / 20).split(" on ") for step in range(21)]
    assert all(contrast(ink, ground) >= 4.5 for ink, ground in styles)
    grounds = [luminance(ground) for _, ground in styles]
    assert all(later < earlier for earlier, later in pairwise(grounds))

"""What a domain shows, on a terminal: complete and readable without colour, whatever its width."""

import io
from pathlib import Path

import pytest
from commands import QUICK, Command
from rich.console import Console
from showing import PNG, Failing, Showing

from loopverse.cli.exhibits import show_exhibits
from loopverse.exhibit import Curves, Estimate, Exhibit, HeatMap, Picture, Series, TableExhibit


def printed(exhibit: Exhibit, width: int = 80, run: str | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show_exhibits(console, [exhibit], run)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_table_is_shown_whole_and_its_best_numbers_are_starred() -> None:
    rows = [["[red]", Estimate(1.25, 0.125), None], ["b", Estimate(-3.0, 0.5), 2]]
    assert printed(TableExhibit("Title [x]", "A note.", ["a", "cost", "n"], rows, "column")) == [
        "Title [x]",
        "  a                cost   n",
        "  [red]     1.25 ± 0.12   –",
        "  b       *−3.00 ± 0.50   2",
        "  * the lowest of its column",
        "  A note.",
        "",
    ]


def test_a_narrow_console_loses_the_intervals_and_no_number() -> None:
    row = ["x", *[Estimate(0.5, 0.001)] * 6]
    lines = printed(TableExhibit("t", "", list("abcdefg"), [row]), width=60)
    assert lines[2].split() == ["x", *["0.5000"] * 6]
    assert "too narrow" in lines[3]
    assert "±" in printed(TableExhibit("t", "", list("abcdefg"), [row]), width=140)[2]


def test_a_map_says_its_numbers_and_shades_them() -> None:
    chart = HeatMap("Map", "", "step", [1, 2], "loops", [4, 8], [[0.5, 1.0], [None, 0.75]], "m")
    assert printed(chart) == [
        "Map",
        "  m over step (across), loops (down)",
        "               1         2",
        "      4    0.500 ██   1.00",
        "      8        – ··  0.750 ▒▒",
        "  The stronger the shade, the lower and the better.",
        "",
    ]


def test_a_map_too_wide_for_its_numbers_keeps_its_shades() -> None:
    places = list(range(30))
    chart = HeatMap("Map", "", "step", places, "y", ["v"], [[float(x) for x in places]], "", False)
    shades = printed(chart, width=60)[2]
    assert shades.strip() == "v  " + "".join(glyph * 6 for glyph in " ░▒▓█")
    assert "too wide for this console; the report shows it" in printed(chart, width=30)[1]


def test_curves_and_pictures_are_shown_in_short() -> None:
    lines = printed(Curves("c", "", "t", "m", [Series("one", [1, 8], [4.0, 2.0])]))
    assert lines[1:3] == ["  m over t; the report draws it", "  one   4.000 at 1   … 2.000 at 8"]
    picture = Picture("My film", "", PNG, "a dot")
    assert printed(picture, run="runs/a")[1] == "  a dot: runs/a/exhibits/my-film.png"
    assert printed(picture)[1] == "  a dot"


def test_training_and_evaluation_end_with_what_the_domain_shows(
    loopverse: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toy.Toy.exhibits", Showing.exhibits)
    monkeypatch.setattr("toy.Toy.suggestions", Showing.suggestions)
    trained = loopverse("train", "name=a", *QUICK)
    assert trained.status == 0, trained.err
    again = loopverse("evaluate", "runs/a")
    for answer in (trained, again):
        for text in ("Likelihood [by depth]", "Map", "a moving dot: runs/a/exhibits/a-dot.gif"):
            assert text in answer.out
    assert "  # look at it for longer\n  loopverse gaze runs/a --bits 3\n" in trained.out
    assert "--prompt" not in trained.out  # the toy does not sample
    assert (tmp_path / "runs/a/exhibits/a-dot.png").read_bytes() == PNG
    assert "Shown by the domain" in (tmp_path / "runs/a/report.html").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("default")
def test_a_domain_that_fails_to_show_costs_one_line(
    loopverse: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toy.Toy.exhibits", Failing.exhibits)
    answer = loopverse("train", "name=a", *QUICK)
    assert answer.status == 0
    (line,) = [line for line in answer.err.splitlines() if "warning" in line]
    assert line == ("loopverse: warning: Toy.exhibits failed after 1 of them (OSError: no display)")
    assert "Likelihood [by depth]" in answer.out
    assert (tmp_path / "runs/a/report.html").exists()

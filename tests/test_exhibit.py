"""Exhibits: what is the best in a table, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from loopverse.domain import DomainAdapter
from loopverse.exhibit import Curves, Estimate, Exhibit, HeatMap, Picture, Series, TableExhibit

PNG = b"\x89PNG\r\n\x1a\n"
ROWS = [
    ["one", 3.0, Estimate(1.0, 0.5), None],
    ["two", 2.0, Estimate(4.0, None), float("nan")],
    ["three", 2, 9, 7.0],
]
COLUMNS = ["planner", "a", "b", "c"]


@pytest.mark.parametrize(
    ("best", "lower", "places"),
    [
        (None, True, set()),
        ("column", True, {(1, 1), (2, 1), (0, 2)}),
        ("column", False, {(0, 1), (2, 2)}),
        ("row", True, {(0, 2), (1, 1), (2, 1)}),
        ("row", False, {(0, 1), (1, 2), (2, 2)}),
    ],
)
def test_the_best_of_a_column_or_row_is_found_among_what_can_be_compared(
    best: Any, lower: bool, places: set[tuple[int, int]]
) -> None:
    table = TableExhibit("t", "", COLUMNS, ROWS, best, lower)
    assert table.emphasised == places


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: TableExhibit(" ", "", ["a"], []), "an exhibit needs a title, got an empty one"),
    (lambda: TableExhibit("t", "", ["a", "b"], [[1]]), "each of its 2 columns, got 1: put None"),
    (
        lambda: TableExhibit("t", "", ["a"], [[torch.tensor(1.0)]]),  # wrong on purpose
        r"a cell of 't' must be a number of Python's own, got Tensor: write float\(value\)",
    ),
    (lambda: TableExhibit("t", "", ["a"], [[True]]), "got bool"),
    (
        lambda: TableExhibit("t", "", [], [], "rows"),
        'must be "column", "row" or None, got',
    ),  # wrong on purpose
    (
        lambda: HeatMap("h", "", "x", [1, 2], "y", ["a"], [[0.1, 0.2], [0.3, 0.4]]),
        r"the values of 'h' must be 1 rows \(y\) of 2 \(x\), at least one of each, got 2 rows of 2",
    ),
    (lambda: HeatMap("h", "", "x", [1, 2], "y", [1, 2], [[1.0], [1.0, 2.0]]), "2 rows of 1 and 2"),
    (lambda: HeatMap("h", "", "x", [], "y", [], []), "got 0 rows of 0"),
    (lambda: Series("s", [1, 2], [1.0]), "'s' needs as many y .* at least one, got 2 and 1"),
    (lambda: Series("s", [1.0], [1.0], [0.1, 0.1]), "got 1 and 1 and 2"),
    (lambda: Series("s", [], []), "at least one, got 0 and 0"),
    (lambda: Curves("c", "", "x", "y", []), "'c' needs at least one series, got none"),
    (
        lambda: Picture("p", "", b"\xff\xd8\xff\xe0 jpeg", "a cat"),
        "must be the bytes of a PNG or a GIF, got 9 bytes that begin with",
    ),
]


@pytest.mark.parametrize(("make", "complaint"), REFUSED)
def test_what_cannot_be_shown_is_refused_where_it_is_made(
    make: Callable[[], object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()


def test_a_picture_knows_its_kind_and_keeps_its_bytes_out_of_messages() -> None:
    assert Picture("p", "", PNG + b"rest", "a cat").kind == "png"
    moving = Picture("p", "", b"GIF89a rest", "a cat")
    assert moving.kind == "gif"
    assert "rest" not in repr(moving)


def test_a_domain_shows_nothing_unless_it_says_so() -> None:
    shown: list[Exhibit] = list(DomainAdapter.exhibits(None, None, [1], 1))
    assert shown == []
    assert DomainAdapter.suggestions == {}

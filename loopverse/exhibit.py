"""What a domain has to show of a trained model beside its losses: tables, maps, curves, pictures.

Plain data. A domain yields it (`DomainAdapter.exhibits`); the framework keeps it in the run folder,
prints it, and puts it into the report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Cell",
    "Curves",
    "Estimate",
    "Exhibit",
    "HeatMap",
    "Picture",
    "Series",
    "ShadedText",
    "TableExhibit",
    "figure",
]

PNG = b"\x89PNG\r\n\x1a\n"
GIF = (b"GIF87a", b"GIF89a")


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval.

    Attributes:
        value: the estimate.
        margin: half the width of the interval; None where a single value tells nothing of the spread.
    """

    value: float
    margin: float | None = None

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.margin is None else self.value - self.margin

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.margin is None else self.value + self.margin

    @property
    def sure(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.margin is not None and abs(self.value) > self.margin

    def negated(self) -> Estimate:
        """The same of the opposite difference."""
        return Estimate(-self.value, self.margin)


Cell = str | float | Estimate | None
"""What a place of a table holds: text, a number, a number with its interval, or nothing (a dash)."""


@dataclass
class Exhibit:
    """Something to show; yield one of the kinds below.

    Attributes:
        title: a few words.
        note: one or two sentences: what it says, and how to read it.
    """

    title: str
    note: str

    def __post_init__(self) -> None:
        if not self.title.strip():
            raise ValueError("an exhibit needs a title, got an empty one: name it in a few words")


@dataclass
class TableExhibit(Exhibit):
    """Rows of cells under named columns.

    Attributes:
        columns: their names.
        rows: the cells of each row, one per column; the first names the row.
        best: "column": the best number of every column is emphasised; "row": that of every row;
            None: nothing is. The first column is left out of it.
        lower_is_better: which number is the best.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    best: Literal["column", "row"] | None = None
    lower_is_better: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.best not in (None, "column", "row"):
            raise ValueError(f'best must be "column", "row" or None, got {self.best!r}')
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"every row of {self.title!r} needs a cell for each of its {len(self.columns)} "
                    f"columns, got {len(row)}: put None where there is nothing to say"
                )
            for cell in row:
                number = cell.value if isinstance(cell, Estimate) else cell
                if not isinstance(number, str | None):
                    _check_number(number, f"a cell of {self.title!r}")

    @property
    def emphasised(self) -> set[tuple[int, int]]:
        """Places (row, column) of the best numbers; ties are all among them."""
        axis = {"row": 0, "column": 1}.get(self.best or "")
        if axis is None:
            return set()
        places = [(r, c) for r in range(len(self.rows)) for c in range(1, len(self.columns))]
        known = {(r, c): figure(self.rows[r][c]) for r, c in places}
        numbers = {place: number for place, number in known.items() if number is not None}
        best: set[tuple[int, int]] = set()
        for line in {place[axis] for place in numbers}:
            rivals = {place: n for place, n in numbers.items() if place[axis] == line}
            if len(rivals) > 1:
                chosen = (min if self.lower_is_better else max)(rivals.values())
                best |= {place for place, number in rivals.items() if number == chosen}
        return best


@dataclass
class HeatMap(Exhibit):
    """A number for every pair of two things, as shaded cells.

    Attributes:
        x_label: what the columns differ in.
        x: one value per column, shown as it is.
        y_label: what the rows differ in.
        y: one value per row.
        values: a row of numbers for each of `y`, one for each of `x`; None where there is none.
        unit: of the numbers; empty where they have none.
        lower_is_better: which numbers are good ones; None: neither, there is only more and less.
    """

    x_label: str
    x: Sequence[str | float]
    y_label: str
    y: Sequence[str | float]
    values: Sequence[Sequence[float | None]]
    unit: str = ""
    lower_is_better: bool | None = True

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = [len(self.values), *sorted({len(row) for row in self.values})]
        if shape != [len(self.y), len(self.x)] or 0 in shape:
            raise ValueError(
                f"the values of {self.title!r} must be {len(self.y)} rows (y) of {len(self.x)} (x), at "
                f"least one of each, got {shape[0]} rows of {' and '.join(map(str, shape[1:])) or 0}"
            )
        for row in self.values:
            for value in row:
                if value is not None:
                    _check_number(value, f"a value of {self.title!r}")


@dataclass
class Series:
    """A line of `Curves`.

    Attributes:
        name: of the line.
        x: where.
        y: how much, one per place.
        margins: half the width of the 95 % interval of each `y`; None: there are none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    margins: Sequence[float | None] | None = None

    def __post_init__(self) -> None:
        lengths = [len(self.x), len(self.y)]
        lengths += [] if self.margins is None else [len(self.margins)]
        if len(set(lengths)) > 1 or not self.x:
            raise ValueError(
                f"the series {self.name!r} needs as many y (and margins) as x, at least one, got "
                f"{' and '.join(map(str, lengths))}"
            )
        for value in (*self.x, *self.y, *(m for m in self.margins or () if m is not None)):
            _check_number(value, f"a value of the series {self.name!r}")


@dataclass
class Curves(Exhibit):
    """Lines over a common axis.

    Attributes:
        x_label: what the axis is.
        y_label: what is drawn, with its unit.
        series: the lines.
        log_x: whether the axis is logarithmic.
        log_y: likewise upwards.
    """

    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.series:
            raise ValueError(f"{self.title!r} needs at least one series, got none")


@dataclass
class ShadedText(Exhibit):
    """Text in pieces, each with a number that shades it: the higher, the stronger.

    Attributes:
        pieces: the text, one after the other.
        values: a number for each piece; None where there is none, and no shade.
        unit: of the numbers (`loops`).
    """

    pieces: Sequence[str]
    values: Sequence[float | None]
    unit: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.pieces) != len(self.values) or not self.pieces:
            raise ValueError(
                f"{self.title!r} needs a value (or None) for each of its pieces, at least one, got "
                f"{len(self.pieces)} pieces and {len(self.values)} values"
            )
        for value in self.values:
            if value is not None:
                _check_number(value, f"a value of {self.title!r}")


@dataclass
class Picture(Exhibit):
    """An image, or an animation: kept as a file, and put into the report as it is.

    Attributes:
        data: the bytes of a PNG or a GIF.
        alt: what a person sees in it, for those who do not.
    """

    data: bytes = field(repr=False)
    alt: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data.startswith((PNG, *GIF)):
            raise ValueError(
                f"the picture {self.title!r} must be the bytes of a PNG or a GIF, got "
                f"{len(self.data)} bytes that begin with {self.data[:8]!r}"
            )

    @property
    def kind(self) -> Literal["png", "gif"]:
        """Which of the two it is."""
        return "png" if self.data.startswith(PNG) else "gif"


def figure(cell: Cell) -> float | None:
    """The number in a cell, where there is one that can be compared."""
    number = cell.value if isinstance(cell, Estimate) else cell
    return None if number is None or isinstance(number, str) or math.isnan(number) else number


def _check_number(value: object, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            f"{what} must be a number of Python's own, got {type(value).__name__}: "
            "write float(value), or str(value) where text is meant"
        )

"""Puzzles of one's own, from a CSV file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from loopverse.errors import UserError
from loopverse_puzzle.puzzles import Batch, Kind, Maze, Product, Sudoku

SPLITS = ("train", "valid")
COLUMNS = ("puzzle", "solution", "split")


@dataclass
class OwnPuzzles:
    """Puzzles of a file, each checked to have one solution.

    Attributes:
        train: puzzles to learn from.
        valid: puzzles to evaluate on.
    """

    train: Batch
    valid: Batch


def read_puzzles(path: Path, kind: Kind) -> OwnPuzzles:
    """Read a file with a column `puzzle`, and perhaps `solution` and `split`.

    A solution that is given must be the right one. Without `split`, a puzzle is held out by what is given, one in
    sixteen.

    Raises:
        ValueError: no such file, a column that is missing or unknown, or, with its line, a puzzle with several
            solutions or none, or one that is for both training and evaluation.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            lines = [(reader.line_num, line) for line in reader]
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"domain.file: {path} cannot be read: {error}") from error
    if not lines or "puzzle" not in columns:
        raise UserError(
            f"domain.file: {path} must have a column `puzzle` and at least one line below it"
        )
    unknown = [column for column in columns if column not in COLUMNS]
    if unknown:
        raise UserError(
            f"domain.file: {path} has a column {unknown[0]!r}: expected no others than {', '.join(COLUMNS)}"
        )
    homes: dict[tuple[int, ...], tuple[str, int]] = {}  # where each puzzle is, to find one in both
    parts: dict[str, list[Batch]] = {split: [] for split in SPLITS}
    for number, line in lines:
        try:
            if None in line or None in line.values():
                raise ValueError(f"expected {len(columns)} fields, as in the first line")
            batch = _read(line, kind)
            split = (line.get("split") or "").strip()
            if not split:
                split = SPLITS[int(bool(kind.held_out(batch)))]
            if split not in SPLITS:
                raise ValueError(f"split must be train or valid, got {split!r}")
            home, first = homes.setdefault(tuple(batch.given[0].tolist()), (split, number))
            if home != split:
                raise ValueError(
                    f"the puzzle of line {first}, which is for {home}, must not be for {split} too"
                )
        except ValueError as error:
            raise UserError(f"domain.file: line {number} of {path}: {error}") from error
        parts[split].append(batch)
    for split, batches in parts.items():
        if not batches:
            raise UserError(
                f"domain.file: {path} has no puzzles for {split}: add some, or say in a column `split` which "
                "puzzles are to train on and which to evaluate"
            )
        if len({batch.given.shape for batch in batches}) > 1:
            raise UserError(
                f"domain.file: {path} has sequences of several lengths: give all one length"
            )
    return OwnPuzzles(Batch.joined(parts["train"]), Batch.joined(parts["valid"]))


def _read(line: dict[str, str | None], kind: Kind) -> Batch:
    given = kind.read(line["puzzle"] or "")[None]
    batch = _solved(given, kind)
    said = (line.get("solution") or "").strip()
    right = kind.write(batch.given[0], batch.answer[0])
    between = " " if kind.shape is None else ""  # cells of a grid are one letter each
    if said and between.join(said.split()) != between.join(right.split()):
        raise ValueError(f"the solution is another one: {right!r}")
    return batch


def _solved(given: Tensor, kind: Kind) -> Batch:
    if isinstance(kind, Sudoku):
        answer = kind.solve(given[0])[None]
        grade = kind.graded(given)[:, None].expand_as(given)
        return Batch(given, answer, given == 0, grade)
    assert isinstance(kind, Maze | Product)
    return kind.batch(given)

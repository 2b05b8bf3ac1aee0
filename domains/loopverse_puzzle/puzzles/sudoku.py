"""Sudoku: a square of squares, in whose rows, columns and boxes every number stands once."""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from loopverse_puzzle.puzzles.base import HELD_OUT, Batch, Kind, address
from loopverse_puzzle.puzzles.grids import solutions, solved_grids

BLANKS = ".0_"
GUESS = 100.0
"""The grade of a puzzle that singles alone do not solve."""


class Sudoku(Kind):
    """Puzzles with one solution, from easy ones to those with no clue too many.

    A puzzle is made from a solved grid by taking cells away in a random order, wherever singles, numbers that fit in
    one place or places that take one number, still solve the rest. What they solve has one solution. Of the cells
    that could go up to a half stay. The grade is the number of rounds in which singles solve it.

    Args:
        box: cells along a box: 2 for the numbers 1 to 4, 3 for 1 to 9.
    """

    grade_name = "rounds of singles"

    def __init__(self, box: int) -> None:
        self.box, self.side = box, box * box
        self.shape = (self.side, self.side)
        self.inputs, self.outputs = self.side + 1, self.side

    def draw(self, count: int, rng: torch.Generator) -> Batch:
        return self._from(self._grids(count, rng), rng)

    def split(self, held_out: bool, count: int, rng: torch.Generator) -> Batch:
        """New puzzles of one half of the world: no solution of a held-out puzzle is one that was trained on."""
        parts: list[Tensor] = []
        while sum(map(len, parts)) < count:
            grids = self._grids(count, rng)
            parts.append(grids[_is_held_out(grids) == held_out])
        return self._from(torch.cat(parts)[:count], rng)

    def held_out(self, batch: Batch) -> Bool[Tensor, " b"]:
        return _is_held_out(batch.answer)

    def _from(self, answer: Int[Tensor, "b t"], rng: torch.Generator) -> Batch:
        """Puzzles with these solutions."""
        count = len(answer)
        places = torch.rand(answer.shape, generator=rng).argsort(
            1
        )  # the cell at each place of the order
        gone = torch.zeros_like(answer, dtype=torch.bool)
        for some in places.split(
            self.box**2 // 3, dim=1
        ):  # of side nine, three at a time: a third of the work
            tried = gone.scatter(1, some, True)
            solved, _ = self.singles(self._given(answer, ~tried))
            gone = torch.where(solved[:, None], tried, gone)
        share = 1 - torch.rand(count, 1, generator=rng).square() / 2
        ordered = gone.gather(1, places)
        most = (share * gone.sum(1, keepdim=True)).clamp(min=1)
        gone = gone.scatter(1, places, ordered & (ordered.cumsum(1) <= most))
        given = self._given(answer, ~gone)
        _, rounds = self.singles(given)
        grade = rounds[:, None].expand_as(answer).float()
        return Batch(given, answer, given == 0, grade)

    def singles(self, given: Int[Tensor, "b t"]) -> tuple[Bool[Tensor, " b"], Int[Tensor, " b"]]:
        """Which puzzles naked and hidden singles solve, and in how many rounds."""
        units = self._units.float()
        values = torch.nn.functional.one_hot(given, self.side + 1)[..., 1:].float()
        known, rounds = given > 0, torch.zeros(len(given), dtype=torch.long)
        for _ in range(given.shape[1]):
            taken = torch.einsum("uc,bcv->buv", units, values) > 0
            barred = torch.einsum("uc,buv->bcv", units, taken.float()) > 0
            may = ~barred & ~known[..., None]
            naked = may & (may.sum(-1, keepdim=True) == 1)
            places = torch.einsum("uc,bcv->buv", units, may.float())
            alone = torch.einsum("uc,buv->bcv", units, (places == 1).float()) > 0
            new = naked | (may & alone)
            new &= new.float().cumsum(-1) == 1  # one number a cell, if a broken grid allows several
            if not new.any():
                break
            values = values + new.float()
            rounds += new.flatten(1).any(1)
            known = values.sum(-1) > 0
        return known.all(1), rounds

    def groups(self) -> list[Int[Tensor, " t"]]:
        rows, columns = super().groups()
        return [rows, columns, rows // self.box * self.box + columns // self.box]

    def read(self, text: str) -> Int[Tensor, " t"]:
        cells = [0 if letter in BLANKS else _digit(letter) for letter in "".join(text.split())]
        count = self.side**2
        if len(cells) != count or max(cells) > self.side:
            raise ValueError(
                f"a puzzle of this kind has {count} cells, 1 to {self.side} or . for a blank one, got "
                f"{len(cells)} cells up to {max(cells, default=0)}: {text!r}"
            )
        return torch.tensor(cells)

    def write(self, given: Int[Tensor, " t"], answer: Int[Tensor, " t"]) -> str:
        numbers = torch.where(given > 0, given, answer + 1).view(self.side, self.side)
        return "\n".join(" ".join(map(str, row)) for row in numbers.tolist())

    def solve(self, given: Int[Tensor, " t"]) -> Int[Tensor, " t"]:
        """The one solution of a puzzle, as an answer.

        Raises:
            ValueError: it has none, or several.
        """
        found = solutions(given.tolist(), self.box, most=2)
        if len(found) != 1:
            raise ValueError(f"it has {'no solution' if not found else 'more than one solution'}")
        return torch.tensor(found[0]) - 1

    def graded(self, given: Int[Tensor, "b t"]) -> Tensor:
        """The grade of each puzzle; `GUESS` where singles do not solve it."""
        solved, rounds = self.singles(given)
        return torch.where(solved, rounds.float(), torch.full((len(given),), GUESS))

    @cached_property
    def _units(self) -> Bool[Tensor, "u t"]:
        """Which cells belong to each row, column and box."""
        groups = torch.stack(self.groups())
        return (groups[:, None] == torch.arange(self.side)[None, :, None]).flatten(0, 1)

    @cached_property
    def _stock(self) -> Int[Tensor, "g t"]:
        return torch.tensor(solved_grids(self.box)) - 1

    def _grids(self, count: int, rng: torch.Generator) -> Int[Tensor, "b t"]:
        """Solved grids: those of the stock with numbers, rows, columns, bands and stacks exchanged."""
        side, box = self.side, self.box
        picked = torch.randint(len(self._stock), (count,), generator=rng)
        grids = self._stock[picked].view(count, side, side)
        for axis in (1, 2):
            bands = torch.rand(count, box, generator=rng).argsort(1)
            lines = torch.rand(count, box, box, generator=rng).argsort(2)
            order = (bands[:, :, None] * box + lines).view(count, side)
            index = order[:, :, None] if axis == 1 else order[:, None, :]
            grids = grids.gather(axis, index.expand(count, side, side))
        turned = torch.rand(count, generator=rng) < 0.5
        grids = torch.where(turned[:, None, None], grids.transpose(1, 2), grids)
        names = torch.rand(count, side, generator=rng).argsort(1)
        return names.gather(1, grids.flatten(1))

    @staticmethod
    def _given(answer: Tensor, shown: Tensor) -> Tensor:
        return torch.where(shown, answer + 1, torch.zeros_like(answer))


def _is_held_out(answer: Int[Tensor, "b t"]) -> Bool[Tensor, " b"]:
    return address(answer) % HELD_OUT == 0


def _digit(letter: str) -> int:
    if not letter.isdecimal():
        raise ValueError(f"a cell is a number, or . for a blank one, got {letter!r}")
    return int(letter)

"""What every kind of puzzle is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

HELD_OUT = 16
"""One puzzle in so many is held out, by what is given."""
MANY = 1000
"""Puzzles after which one of each half would have been met."""
_MIX = 0x9E3779B97F4A7C15
_MASK = (1 << 63) - 1


@dataclass
class Batch:
    """Puzzles, side by side.

    Attributes:
        given: what is read, a number for every cell.
        answer: what is right, likewise.
        asked: which cells are asked for.
        grade: how hard each puzzle, or each of its cells, is; the larger the harder.
    """

    given: Int[Tensor, "b t"]
    answer: Int[Tensor, "b t"]
    asked: Bool[Tensor, "b t"]
    grade: Float[Tensor, "b t"]

    def take(self, rows: Tensor) -> Batch:
        """Some of the puzzles."""
        return Batch(self.given[rows], self.answer[rows], self.asked[rows], self.grade[rows])

    @classmethod
    def joined(cls, parts: list[Batch]) -> Batch:
        """The puzzles of several batches."""
        return cls(
            *(torch.cat([vars(part)[name] for part in parts]) for name in cls.__annotations__)
        )


class Kind(ABC):
    """A kind of puzzle.

    Attributes:
        inputs: numbers that a given cell can hold, from 0.
        outputs: numbers that an answer can hold, from 0.
        causal: whether a cell may only read what comes before it.
        grade_name: what `grade` counts.
        shape: rows and columns of cells; None: a line of any length.
    """

    inputs: int
    outputs: int
    causal: bool = False
    grade_name: str
    shape: tuple[int, int] | None = None

    @abstractmethod
    def draw(self, count: int, rng: torch.Generator) -> Batch:
        """New puzzles, each with one solution."""

    def split(self, held_out: bool, count: int, rng: torch.Generator) -> Batch:
        """New puzzles of one of two halves of the world that share no puzzle.

        Which half a puzzle belongs to follows from what is given, so that one that was trained on is never
        held out, whatever the seeds.

        Raises:
            ValueError: there are so few different puzzles that one half has none.
        """
        parts: list[Batch] = []
        found = drawn = 0
        while found < count:
            wanted = (count - found) * (HELD_OUT if held_out else 1) + 8
            batch = self.draw(wanted, rng)
            rows = (self.held_out(batch) == held_out).nonzero()[: count - found, 0]
            parts.append(batch.take(rows))
            found, drawn = found + len(rows), drawn + wanted
            if not found and drawn > MANY:
                half = "to be held out" if held_out else "to be trained on"
                raise ValueError(
                    f"none of {drawn} puzzles is one {half}: there are too few different ones of this size, "
                    "choose a larger domain.length or domain.side"
                )
        return Batch.joined(parts)

    def held_out(self, batch: Batch) -> Bool[Tensor, " b"]:
        """Which puzzles are held out."""
        return address(batch.given) % HELD_OUT == 0

    def groups(self) -> list[Int[Tensor, " t"]]:
        """Numbers of each cell that say where it is; empty where the order says it."""
        if self.shape is None:
            return []
        rows, columns = self.shape
        cells = torch.arange(rows * columns)
        return [cells // columns, cells % columns]

    @abstractmethod
    def read(self, text: str) -> Int[Tensor, " t"]:
        """What is given, from a line of text.

        Raises:
            ValueError: a text that is no such puzzle.
        """

    @abstractmethod
    def write(self, given: Int[Tensor, " t"], answer: Int[Tensor, " t"]) -> str:
        """An answer, as a person reads it."""


def address(given: Int[Tensor, "b t"]) -> Int[Tensor, " b"]:
    """A number for each puzzle that is the same wherever it is met, and evenly spread."""
    places = torch.arange(1, given.shape[1] + 1)
    mixed = ((given.long() + 1) * places * (_MIX & _MASK)) & _MASK
    mixed = (mixed ^ (mixed >> 29)) * 0x3C79AC492BA7B653 & _MASK
    total = mixed.sum(1) & _MASK
    return (total ^ (total >> 32)) & _MASK

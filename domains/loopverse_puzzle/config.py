"""Settings of the puzzle domain."""

from dataclasses import dataclass

from loopverse_puzzle.puzzles import Kind, Maze, Product, Sudoku
from loopverse_puzzle.puzzles.groups import GROUPS

KINDS = ("sudoku4", "sudoku9", "maze", *GROUPS)


@dataclass
class PuzzleConfig:
    """Settings of puzzles.

    Attributes:
        kind: `sudoku4` and `sudoku9`, in squares of side 4 and 9; `maze`; `parity`, `s5` and `a5`: the product of
            group elements so far.
        file: a CSV file with your own puzzles of this kind, a column `puzzle`, and perhaps `solution` and `split`
            (`train` or `valid`); empty: puzzles are made.
        side: cells along a maze, an odd number.
        length: elements of a sequence in training.
        growth: batches after which sequences become twice as long, from two elements up to `length`; 0: they are as
            long as they get at once.
        longer: elements of further held-out sequences, to see how far it generalises; 0: none.
        carried: a sequence is read element by element, each thought about from the state where the one before
            stopped, so that depth grows with length; false: all elements at once, which read earlier ones.
        segments: times that a model thinks about a puzzle, each time from where it stopped, with a loss after each
            and no gradient from one to the next (deep supervision; 2506.21734, 2606.18206).
        held_out: puzzles to evaluate on.
    """

    kind: str = "sudoku4"
    file: str = ""
    side: int = 13
    length: int = 32
    growth: int = 0
    longer: int = 128
    carried: bool = False
    segments: int = 1
    held_out: int = 512

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"domain.kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        for name in ("length", "segments", "held_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"domain.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("growth", "longer"):
            if getattr(self, name) < 0:
                raise ValueError(f"domain.{name} must not be negative, got {getattr(self, name)}")

        if self.carried and self.kind not in GROUPS:
            raise ValueError(
                f"domain.carried reads sequences, one of {', '.join(GROUPS)}, got domain.kind={self.kind}"
            )
        if self.carried and self.segments > 1:
            raise ValueError(
                f"domain.carried goes with domain.segments=1, got {self.segments}: the state is carried to the "
                "next element, not to a further segment"
            )

    def build(self, length: int | None = None) -> Kind:
        """The kind of puzzle, of another length if one is said."""
        if self.kind == "maze":
            return Maze(self.side)
        if self.kind in GROUPS:
            return Product(self.kind, length or self.length)
        return Sudoku(2 if self.kind == "sudoku4" else 3)

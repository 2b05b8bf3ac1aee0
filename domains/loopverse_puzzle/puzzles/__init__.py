"""The puzzles: each says what is given, what is asked, and how hard it is."""

from loopverse_puzzle.puzzles.base import Batch, Kind
from loopverse_puzzle.puzzles.groups import Product
from loopverse_puzzle.puzzles.maze import Maze
from loopverse_puzzle.puzzles.sudoku import Sudoku

__all__ = ["Batch", "Kind", "Maze", "Product", "Sudoku"]

"""The puzzle domain: Sudoku, mazes, and products of group elements."""

from loopverse_puzzle.adapter import Puzzle
from loopverse_puzzle.config import PuzzleConfig

__all__ = ["Puzzle", "PuzzleConfig"]

"""Puzzles of a CSV file: each is checked, and a wrong one is refused with its line."""

from pathlib import Path

import pytest
import torch

from loopverse.errors import UserError
from loopverse_puzzle import Puzzle, PuzzleConfig
from loopverse_puzzle.own import read_puzzles
from loopverse_puzzle.puzzles import Maze, Product, Sudoku

GOOD = "1.3. .... 2... ...1".replace(" ", "")
SOLVED = "1234341221434321"
HOLED = "1234341.21.34321"


def written(path: Path, *lines: str, columns: str = "puzzle") -> Path:
    path.write_text("\n".join([columns, *lines, ""]), encoding="utf-8")
    return path


def test_puzzles_are_solved_and_go_where_they_are_told(tmp_path: Path) -> None:
    file = written(
        tmp_path / "own.csv",
        f"{HOLED},{SOLVED},train",
        f"{SOLVED[:-1]}.,,valid",
        columns="puzzle,solution,split",
    )
    own = read_puzzles(file, Sudoku(2))
    expected = torch.tensor([int(cell) - 1 for cell in "1234341221434321"])
    assert torch.equal(own.train.answer[0], expected)
    assert own.train.asked.sum() == 2
    assert own.valid.asked.sum() == 1


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("." * 16, "it has more than one solution"),
        ("11" + "." * 14, "it has no solution"),
        ("123", "has 16 cells"),
    ],
)
def test_a_puzzle_without_one_solution_is_refused_with_its_line(
    tmp_path: Path, cells: str, said: str
) -> None:
    file = written(tmp_path / "own.csv", f"{HOLED},train", f"{cells},valid", columns="puzzle,split")
    with pytest.raises(UserError, match=f"line 3 of .*{said}"):
        read_puzzles(file, Sudoku(2))


def test_a_wrong_solution_is_refused(tmp_path: Path) -> None:
    file = written(
        tmp_path / "own.csv", f"{HOLED},{SOLVED[4:] + SOLVED[:4]}", columns="puzzle,solution"
    )
    with pytest.raises(UserError, match="line 2 of .*the solution is another one"):
        read_puzzles(file, Sudoku(2))


def test_the_solution_of_a_maze_is_what_is_shown(tmp_path: Path) -> None:
    maze = "S...####.#....G.####....."
    kind = Maze(5)
    batch = kind.batch(kind.read(maze)[None])
    right = kind.write(batch.given[0], batch.answer[0])
    lines = (f'{maze},"{right}",train', f"{maze[::-1]},,valid")
    file = written(tmp_path / "maze.csv", *lines, columns="puzzle,solution,split")
    assert len(read_puzzles(file, kind).train.given) == 1
    lines = (f'{maze},"{right[::-1]}",train', lines[1])
    written(file, *lines, columns="puzzle,solution,split")
    with pytest.raises(UserError, match="the solution is another one"):
        read_puzzles(file, kind)


def test_a_file_of_a_spreadsheet_is_read_and_a_puzzle_of_both_splits_refused(
    tmp_path: Path,
) -> None:
    file = tmp_path / "own.csv"
    both = f"puzzle,split\n{HOLED},train\n{SOLVED[:-1]}.,valid\n"
    file.write_text(both, encoding="utf-8-sig")
    assert len(read_puzzles(file, Sudoku(2)).valid.given) == 1
    file.write_text(f"{both}{HOLED},valid\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 4 of .*the puzzle of line 2, which is for train"):
        read_puzzles(file, Sudoku(2))


def test_mazes_and_sequences_can_be_ones_own_too(tmp_path: Path) -> None:
    maze = "S...####.#....G.####....."
    lines = (f"{maze},train", f"{maze[::-1]},valid")
    own = read_puzzles(written(tmp_path / "maze.csv", *lines, columns="puzzle,split"), Maze(5))
    assert own.train.answer[0].sum() == 7
    lines = ("1 0 1,train", "1 1 1,valid")
    file = written(tmp_path / "bits.csv", *lines, columns="puzzle,split")
    assert read_puzzles(file, Product("parity", 3)).train.answer.tolist() == [[1, 1, 0]]
    blocked = "S#...##.................G"
    file = written(tmp_path / "wall.csv", f"{blocked},train", columns="puzzle,split")
    with pytest.raises(UserError, match="line 2 of .*no way leads from the start to the goal"):
        read_puzzles(file, Maze(5))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("cells\n1\n", "must have a column `puzzle`"),
        ("puzzle\n", "at least one line"),
        (f"puzzle,solutoin\n{HOLED},{SOLVED}\n", "has a column 'solutoin': expected no others"),
        (f"puzzle,split\n{HOLED}\n", "line 2 of .*expected 2 fields"),
        (f"puzzle,split\n{HOLED},train,1\n", "line 2 of .*expected 2 fields"),
        (f'puzzle,split\n"{HOLED}"x,train\n', "cannot be read"),
        (f"puzzle,split\n{HOLED},test\n", "split must be train or valid, got 'test'"),
        (f"puzzle,split\n{HOLED},train\n", "has no puzzles for valid"),
    ],
)
def test_a_file_that_is_no_table_of_puzzles_is_refused(
    tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "own.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        read_puzzles(file, Sudoku(2))
    with pytest.raises(UserError, match="cannot be read"):
        read_puzzles(tmp_path / "none.csv", Sudoku(2))


def test_a_domain_learns_from_a_file(tmp_path: Path) -> None:
    file = written(
        tmp_path / "own.csv", f"{HOLED},train", f"{SOLVED[:-1]}.,valid", columns="puzzle,split"
    )
    domain = Puzzle(PuzzleConfig(file=str(file)), 16)
    batch = next(domain.batches("train", batch_size=3, seed=0))
    assert batch["given"].tolist() == [[int(c) if c != "." else 0 for c in HOLED]] * 3
    (valid,) = domain.batches("valid", batch_size=3, seed=0)
    assert len(valid) == 1

"""Puzzles, held against slow and plain readings of their rules."""

from collections import deque
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loopverse_puzzle.puzzles import Batch, Kind, Maze, Product, Sudoku
from loopverse_puzzle.puzzles.grids import solutions, solved_grids

KINDS = [Sudoku(2), Sudoku(3), Maze(9), Product("parity", 8), Product("a5", 8), Product("s5", 8)]


def drawn(kind: Kind, count: int, seed: int = 0) -> Batch:
    return kind.draw(count, torch.Generator().manual_seed(seed))


def units(kind: Sudoku) -> list[list[int]]:
    side, box = kind.side, kind.box
    rows = [[side * r + c for c in range(side)] for r in range(side)]
    columns = [[side * r + c for r in range(side)] for c in range(side)]
    corners = [(r, c) for r in range(0, side, box) for c in range(0, side, box)]
    boxes = [[side * (r + i) + c + j for i in range(box) for j in range(box)] for r, c in corners]
    return rows + columns + boxes


@pytest.mark.parametrize("kind", [Sudoku(2), Sudoku(3)], ids=["4", "9"])
def test_a_sudoku_has_the_solution_that_is_said_and_no_other(kind: Sudoku) -> None:
    batch = drawn(kind, 20)
    for row in range(20):
        given, answer = batch.given[row], batch.answer[row] + 1
        for unit in units(kind):
            assert sorted(answer[unit].tolist()) == list(range(1, kind.side + 1))
        assert torch.equal(given[given > 0], answer[given > 0])
        assert solutions(given.tolist(), kind.box, most=2) == [answer.tolist()]
        assert torch.equal(batch.asked[row], given == 0)


@pytest.mark.parametrize(("kind", "least"), [(Sudoku(2), 9), (Sudoku(3), 38)], ids=["4", "9"])
def test_many_cells_are_blank_and_some_puzzles_are_hard(kind: Sudoku, least: int) -> None:
    """A cell that must stay does not end the taking away: side 4 has 7.8 blanks if it does, side 9 has 28."""
    batch = drawn(kind, 100)
    assert batch.asked.sum(1).float().mean() > least
    assert batch.grade.unique().numel() >= kind.box


@pytest.mark.parametrize("kind", [Sudoku(2), Sudoku(3)], ids=["4", "9"])
def test_no_solution_is_both_trained_on_and_held_out(kind: Sudoku) -> None:
    rng = torch.Generator().manual_seed(0)
    train, valid = (kind.split(held_out, 60, rng) for held_out in (False, True))
    assert len(train.given) == len(valid.given) == 60
    known = {tuple(row) for row in train.answer.tolist()}
    assert not known & {tuple(row) for row in valid.answer.tolist()}


def test_all_grids_of_side_four_are_known_and_differ() -> None:
    assert len({tuple(grid) for grid in solved_grids(2)}) == 288


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_singles_solve_no_more_than_search_does(seed: int) -> None:
    """Cells taken at random: what singles solve has one solution."""
    rng = torch.Generator().manual_seed(seed)
    kind = Sudoku(2)
    answer = drawn(kind, 8, seed).answer
    given = (answer + 1) * (torch.rand(answer.shape, generator=rng) < 0.4)
    solved, rounds = kind.singles(given)
    for row in range(8):
        if solved[row]:
            assert len(solutions(given[row].tolist(), 2, most=2)) == 1
            assert rounds[row] >= 1 or (given[row] > 0).all()


def test_a_sudoku_with_no_single_needs_a_guess() -> None:
    kind = Sudoku(2)
    solved, _ = kind.singles(torch.zeros(1, 16, dtype=torch.long))
    assert not solved.any()
    assert kind.graded(torch.zeros(1, 16, dtype=torch.long)).tolist() == [100.0]


def shortest_ways(kind: Maze, given: Tensor) -> set[int]:
    """By breadth-first search from both ends."""
    side, cells = kind.side, given.tolist()

    def reached(start: int) -> dict[int, int]:
        known, queue = {start: 0}, deque([start])
        while queue:
            cell = queue.popleft()
            r, c = divmod(cell, side)
            for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                if not (0 <= r + dr < side and 0 <= c + dc < side):
                    continue
                near = side * (r + dr) + c + dc
                if cells[near] and near not in known:
                    known[near] = known[cell] + 1
                    queue.append(near)
        return known

    there, back = reached(cells.index(2)), reached(cells.index(3))
    way = there[cells.index(3)]
    return {cell for cell in there if cell in back and there[cell] + back[cell] == way}


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_the_way_through_a_maze_is_a_shortest_one(seed: int) -> None:
    kind = Maze(11)
    batch = drawn(kind, 4, seed)
    for row in range(4):
        expected = shortest_ways(kind, batch.given[row])
        assert set(batch.answer[row].nonzero()[:, 0].tolist()) == expected
        assert batch.grade[row, 0] <= len(expected) - 1


def test_a_maze_is_one_piece_and_few_walls_are_missing() -> None:
    kind = Maze(15)
    free = (drawn(kind, 50).given > 0).sum(1)
    rooms = 8 * 8
    assert (free >= 2 * rooms - 1).all()
    assert free.float().mean() < 2 * rooms + 8


@pytest.mark.parametrize("name", ["parity", "a5", "s5"])
def test_the_table_is_a_group_of_the_right_size(name: str) -> None:
    kind = Product(name, 4)
    table = kind.table
    order = {"parity": 2, "a5": 60, "s5": 120}[name]
    assert table.shape == (order, order)
    for line in (*table, *table.T):
        assert sorted(line.tolist()) == list(range(order))
    a, b, c = torch.randint(order, (3, 200), generator=torch.Generator().manual_seed(0))
    assert torch.equal(table[table[a, b], c], table[a, table[b, c]])


def test_products_are_permutations_one_after_another() -> None:
    kind = Product("s5", 6)
    elements = list(permutations(range(5)))
    batch = drawn(kind, 10)
    for row in range(10):
        so_far = tuple(range(5))
        for place in range(6):
            element = elements[int(batch.given[row, place])]
            so_far = tuple(element[so_far[i]] for i in range(5))
            assert elements[int(batch.answer[row, place])] == so_far


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
def test_no_puzzle_is_both_trained_on_and_held_out(kind: Kind) -> None:
    rng = torch.Generator().manual_seed(0)
    train, valid = (kind.split(held_out, 40, rng) for held_out in (False, True))
    known = {tuple(row) for row in train.given.tolist()}
    assert not known & {tuple(row) for row in valid.given.tolist()}
    assert not kind.held_out(train).any()
    assert kind.held_out(valid).all()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
def test_about_one_in_sixteen_is_held_out(kind: Kind) -> None:
    if kind.shape is None and kind.inputs == 2:
        return  # there are but 256 of these
    share = kind.held_out(drawn(kind, 600)).float().mean()
    assert 0.03 < share < 0.10


def test_where_none_can_be_held_out_it_is_refused() -> None:
    """None of the 16 sequences of four bits falls into the held-out part."""
    rng = torch.Generator().manual_seed(0)
    assert len(Product("parity", 4).split(False, 9, rng).given) == 9
    with pytest.raises(
        ValueError, match=r"is one to be held out: .* choose a larger domain\.length"
    ):
        Product("parity", 4).split(True, 9, rng)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
def test_a_puzzle_comes_back_from_its_text(kind: Kind) -> None:
    batch = drawn(kind, 3)
    for row in batch.given:
        if isinstance(kind, Maze):
            text = "".join("#.SG"[cell] for cell in row)
        elif isinstance(kind, Sudoku):
            text = "".join("." if not cell else str(int(cell)) for cell in row)
        else:
            text = " ".join(str(int(cell)) for cell in row)
        assert torch.equal(kind.read(text), row)
    solved = kind.write(batch.given[0], batch.answer[0])
    if isinstance(kind, Sudoku):
        assert torch.equal(kind.read(solved), batch.answer[0] + 1)


@pytest.mark.parametrize(
    ("kind", "text", "line"),
    [
        (Sudoku(2), "12", "has 16 cells"),
        (Sudoku(2), "5" + "." * 15, "cells up to 5"),
        (Sudoku(2), "x" * 16, "got 'x'"),
        (Maze(5), "S.G", "a maze of side 5 has 25 cells"),
        (Product("a5", 4), "1 60", "from 0 to 59"),
        (Product("a5", 4), "one", "from 0 to 59"),
    ],
)
def test_a_text_that_is_no_puzzle_is_refused(kind: Kind, text: str, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        kind.read(text)


def test_a_maze_needs_an_odd_side() -> None:
    with pytest.raises(ValueError, match="odd number of at least 5, got 6"):
        Maze(6)

"""Solving grids by search: for a stock of solved ones, and to find out how many solutions a puzzle has."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

STOCK = 256
"""Solved grids of side nine that all others are made from, by exchanging what may be exchanged."""


@cache
def solved_grids(box: int) -> list[list[int]]:
    """Solved grids, numbers from 1: all 288 of side four, `STOCK` of side nine, the same every time."""
    side = box * box
    if side == 4:
        return solutions([0] * side**2, box, most=288)
    rng = random.Random(0)
    grids = []
    for _ in range(STOCK):
        first = rng.sample(range(1, side + 1), side)
        grids += solutions([*first, *[0] * (side**2 - side)], box, most=1, rng=rng)
    return grids


def solutions(
    given: Sequence[int], box: int, most: int, rng: random.Random | None = None
) -> list[list[int]]:
    """Solutions of a grid, up to `most` of them, by depth-first search in the cell with fewest numbers left.

    Args:
        given: cell by cell, 0 where it is blank.
        box: cells along a box.
        most: how many to look for.
        rng: tries numbers in random order; None: in order.
    """
    side = box * box
    units = [_units(cell, box) for cell in range(side**2)]
    rows, cells = [0] * (3 * side), list(given)
    for cell, number in enumerate(cells):
        if number:
            if any(rows[unit] >> number & 1 for unit in units[cell]):
                return []
            for unit in units[cell]:
                rows[unit] |= 1 << number
    found: list[list[int]] = []

    def search() -> None:
        best, free = -1, []
        for cell, number in enumerate(cells):
            if number:
                continue
            a, b, c = units[cell]
            taken = rows[a] | rows[b] | rows[c]
            left = [n for n in range(1, side + 1) if not taken >> n & 1]
            if best < 0 or len(left) < len(free):
                best, free = cell, left
            if len(free) < 2:
                break
        if best < 0:
            found.append(list(cells))
            return
        if rng is not None:
            rng.shuffle(free)
        for number in free:
            cells[best] = number
            for unit in units[best]:
                rows[unit] |= 1 << number
            search()
            for unit in units[best]:
                rows[unit] &= ~(1 << number)
            cells[best] = 0
            if len(found) >= most:
                return

    search()
    return found


def _units(cell: int, box: int) -> tuple[int, int, int]:
    side = box * box
    row, column = divmod(cell, side)
    return row, side + column, 2 * side + row // box * box + column // box

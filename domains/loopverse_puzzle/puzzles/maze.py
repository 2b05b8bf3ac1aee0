"""Mazes: which cells lie on a shortest way from the start to the goal."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from loopverse_puzzle.puzzles.base import Batch, Kind

WALL, FREE, START, GOAL = range(4)
LETTERS = "#.SG"
OPENED = 0.05
"""Share of the walls between two free cells that are opened once more: then there are several ways."""
FAR = 1 << 20


class Maze(Kind):
    """A square with walls; a cell is on a shortest way, or it is not.

    Free cells lie on even places of the grid, and a random spanning tree opens the walls between them. Where more
    walls are opened several ways may be shortest; all of their cells are right. The grade is the length of the way.

    Args:
        side: cells along the maze, an odd number of at least 5.

    Raises:
        ValueError: another side.
    """

    inputs, outputs = 4, 2
    grade_name = "steps of the way"

    def __init__(self, side: int) -> None:
        if side < 5 or side % 2 == 0:
            raise ValueError(f"domain.side must be an odd number of at least 5, got {side}")
        self.side, self.shape = side, (side, side)
        rooms = (side + 1) // 2
        number = torch.arange(rooms**2).view(rooms, rooms)
        across = torch.stack([number[:, :-1], number[:, 1:]], -1).flatten(0, 1)
        down = torch.stack([number[:-1], number[1:]], -1).flatten(0, 1)
        self._edges = torch.cat([across, down])
        self._rooms = 2 * (number // rooms) * side + 2 * (number % rooms)
        ends = self._rooms.flatten()[self._edges]
        self._walls = ends.sum(1) // 2  # the cell between two neighbours

    def draw(self, count: int, rng: torch.Generator) -> Batch:
        opened = self._trees(count, rng)
        opened |= torch.rand(opened.shape, generator=rng) < OPENED
        free = torch.zeros(count, self.side**2, dtype=torch.bool)
        free[:, self._rooms.flatten()] = True
        free[:, self._walls] |= opened
        ends = torch.rand(count, self._rooms.numel(), generator=rng).argsort(1)[:, :2]
        start, goal = self._rooms.flatten()[ends].unbind(1)
        given = torch.where(free, FREE, WALL)
        given.scatter_(1, start[:, None], START)
        given.scatter_(1, goal[:, None], GOAL)
        return self.batch(given)

    def batch(self, given: Int[Tensor, "b t"]) -> Batch:
        """Mazes with their ways.

        Raises:
            ValueError: a maze without a start, a goal or a way.
        """
        for mark, what in ((START, "one start, S"), (GOAL, "one goal, G")):
            if ((given == mark).sum(1) != 1).any():
                raise ValueError(f"a maze needs {what}")
        there, back = (self._distances(given, mark) for mark in (START, GOAL))
        way = there.masked_fill(given != GOAL, FAR).amin(1)
        if (way >= FAR).any():
            raise ValueError("it has no solution: no way leads from the start to the goal")
        answer = (there + back == way[:, None]).long()
        return Batch(given, answer, given != WALL, way[:, None].expand_as(given).float())

    def read(self, text: str) -> Int[Tensor, " t"]:
        cells = "".join(text.split())
        if len(cells) != self.side**2 or set(cells) - set(LETTERS):
            raise ValueError(
                f"a maze of side {self.side} has {self.side**2} cells, each one of {LETTERS}, got "
                f"{len(cells)} cells: {text!r}"
            )
        return torch.tensor([LETTERS.index(cell) for cell in cells])

    def write(self, given: Int[Tensor, " t"], answer: Int[Tensor, " t"]) -> str:
        cells = [
            "*" if on and mark == FREE else LETTERS[mark]
            for mark, on in zip(given.tolist(), answer.tolist(), strict=True)
        ]
        return "\n".join(
            "".join(cells[row : row + self.side]) for row in range(0, len(cells), self.side)
        )

    def _trees(self, count: int, rng: torch.Generator) -> Bool[Tensor, "b e"]:
        """The edges of random spanning trees: of those of least weight, as Boruvka found them."""
        u, v = self._edges.unbind(1)
        rooms, edges = self._rooms.numel(), len(self._edges)
        weights = torch.rand(count, edges, generator=rng).argsort(1).argsort(1)
        label = torch.arange(rooms).expand(count, rooms).clone()
        chosen = torch.zeros(count, edges, dtype=torch.bool)
        while True:
            a, b = label[:, u], label[:, v]
            if (a == b).all():
                return chosen
            cost = weights.masked_fill(a == b, edges)
            least = torch.full((count, rooms), edges)
            least.scatter_reduce_(1, a, cost, "amin").scatter_reduce_(1, b, cost, "amin")
            chosen |= (cost < edges) & ((cost == least.gather(1, a)) | (cost == least.gather(1, b)))
            label = self._joined(label, chosen)

    def _joined(self, label: Tensor, chosen: Tensor) -> Tensor:
        """The smallest number of all rooms that chosen edges connect."""
        u, v = self._edges.unbind(1)
        while True:
            low = torch.minimum(label[:, u], label[:, v])
            low = torch.where(chosen, low, label.shape[1])
            new = label.clone()
            for ends in (u, v):
                new.scatter_reduce_(1, ends.expand_as(low), low, "amin")
            if (new == label).all():
                return label
            label = new

    def _distances(self, given: Tensor, mark: int) -> Int[Tensor, "b t"]:
        """Steps from the cell with this mark to each other; `FAR` where no way leads."""
        side = self.side
        free = (given != WALL).view(-1, side, side)
        known = torch.where(given == mark, 0, FAR).view(-1, side, side)
        while True:
            around = torch.nn.functional.pad(known, (1, 1, 1, 1), value=FAR)
            near = torch.stack(
                [
                    around[:, 2:, 1:-1],
                    around[:, :-2, 1:-1],
                    around[:, 1:-1, 2:],
                    around[:, 1:-1, :-2],
                ]
            ).amin(0)
            new = torch.where(free, torch.minimum(known, near + 1), FAR)
            if (new == known).all():
                return known.flatten(1)
            known = new

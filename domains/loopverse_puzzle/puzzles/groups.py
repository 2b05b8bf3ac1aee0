"""State tracking: what a sequence of group elements comes to, after each of them."""

from __future__ import annotations

from functools import cache
from itertools import permutations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from loopverse_puzzle.puzzles.base import Batch, Kind

GROUPS = {"parity": (2, False), "s5": (5, False), "a5": (5, True)}
"""Elements that are permuted, and whether only even permutations count."""


class Product(Kind):
    """The product of all elements up to each place, in a group of permutations.

    Parity is the group of two elements. S5 and A5 are not solvable, so that a network of fixed depth cannot follow
    them for all lengths (2404.08819). The grade of a place is its number: how many elements it depends on.

    Args:
        group: a key of `GROUPS`.
        length: elements of a sequence.
    """

    causal = True
    grade_name = "elements"

    def __init__(self, group: str, length: int) -> None:
        self.table = group_table(group)
        self.inputs = self.outputs = len(self.table)
        self.length = length

    def draw(self, count: int, rng: torch.Generator) -> Batch:
        given = torch.randint(self.inputs, (count, self.length), generator=rng)
        return self.batch(given)

    def batch(self, given: Int[Tensor, "b t"]) -> Batch:
        """Sequences with their products."""
        answer, so_far = torch.empty_like(given), given[:, 0]
        answer[:, 0] = so_far
        for place in range(1, given.shape[1]):
            so_far = self.table[so_far, given[:, place]]
            answer[:, place] = so_far
        grade: Float[Tensor, " t"] = torch.arange(1.0, given.shape[1] + 1)
        return Batch(
            given, answer, torch.ones_like(given, dtype=torch.bool), grade.expand_as(given)
        )

    def read(self, text: str) -> Int[Tensor, " t"]:
        try:
            numbers = [int(word) for word in text.replace(",", " ").split()]
        except ValueError:
            numbers = []
        if not numbers or min(numbers) < 0 or max(numbers) >= self.inputs:
            raise ValueError(
                f"a sequence is numbers from 0 to {self.inputs - 1} with spaces in between, got {text!r}"
            )
        return torch.tensor(numbers)

    def write(self, given: Int[Tensor, " t"], answer: Int[Tensor, " t"]) -> str:
        return " ".join(map(str, answer.tolist()))


@cache
def group_table(group: str) -> Int[Tensor, "g g"]:
    """The number of the product of every two elements, the first one applied first."""
    size, even = GROUPS[group]
    elements = [p for p in permutations(range(size)) if not even or _is_even(p)]
    number = {element: place for place, element in enumerate(elements)}
    return torch.tensor(
        [[number[tuple(b[a[i]] for i in range(size))] for b in elements] for a in elements]
    )


def _is_even(permutation: tuple[int, ...]) -> bool:
    pairs = [
        (a, b) for place, a in enumerate(permutation) for b in permutation[place + 1 :] if a > b
    ]
    return len(pairs) % 2 == 0

"""What there is to see of puzzles: how much is solved, by hardness and loops, and one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import torch
from tensordict import TensorDict
from torch import Tensor

from loopverse.domain import Think
from loopverse.exhibit import Curves, Exhibit, HeatMap, Series, ShadedText

if TYPE_CHECKING:
    from loopverse_puzzle.adapter import Puzzle

SHOWN = 256
"""Held-out puzzles that are looked at."""
GRADES = 6
"""Classes of hardness, of about as many cells each."""


def by_grade(
    domain: Puzzle, think_at: Callable[[int], Think], loops: Sequence[int]
) -> Iterator[Exhibit]:
    """Wrong cells, by hardness and loops."""
    device = domain.answer.weight.device
    batch = next(domain.batches("valid", batch_size=SHOWN, seed=0)).to(device)
    asked, grade = cast(Tensor, batch["asked"]), cast(Tensor, batch["grade"])
    wrong = [
        ~domain.correct(domain(think_at(number), batch), batch)[asked].cpu() for number in loops
    ]
    grades = grade[asked].cpu()
    edges = torch.quantile(grades, torch.linspace(0, 1, GRADES + 1)).unique()
    classes = torch.bucketize(grades, edges[1:-1], right=True)
    names, rows = [], []
    for number in range(max(1, len(edges) - 1)):
        inside = classes == number
        if inside.any():
            low, high = float(grades[inside].min()), float(grades[inside].max())
            names.append(f"{low:g}" if low == high else f"{low:g} to {high:g}")
            rows.append([100 * float(one[inside].double().mean()) for one in wrong])
    yield HeatMap(
        "Wrong cells by hardness and loops",
        f"Of {len(asked)} held-out puzzles; hardness is {domain.kind.grade_name}.",
        x_label="loops",
        x=list(loops),
        y_label=domain.kind.grade_name,
        y=names,
        values=rows,
        unit="per cent",
    )
    if len(loops) > 1:
        yield Curves(
            "Wrong cells by loops",
            "A line for each class of hardness.",
            x_label="loops",
            y_label="per cent",
            series=[
                Series(name, [float(n) for n in loops], row)
                for name, row in zip(names, rows, strict=True)
            ],
        )


def one_puzzle(
    domain: Puzzle, think_at: Callable[[int], Think], loops: Sequence[int]
) -> Iterator[Exhibit]:
    """A hard puzzle as it is solved with the most loops; what was asked is shaded, a mistake most."""
    device = domain.answer.weight.device
    batch = next(domain.batches("valid", batch_size=SHOWN, seed=0))
    hardest = int(cast(Tensor, batch["grade"]).amax(1).argmax())
    batch = cast(TensorDict, batch[hardest : hardest + 1]).to(device)
    outcome = domain(think_at(loops[-1]), batch)
    right = domain.correct(outcome, batch)[0].cpu()
    assert outcome.prediction is not None
    answer = outcome.prediction.mode[0].cpu()
    given, asked = cast(Tensor, batch["given"])[0].cpu(), cast(Tensor, batch["asked"])[0].cpu()
    letters = domain.kind.write(given, answer).split()
    cells = letters if len(letters) == len(given) else [*"".join(letters)]
    width = domain.kind.shape[1] if domain.kind.shape is not None else 16
    yield ShadedText(
        "A hard puzzle",
        f"Solved with {loops[-1]} loops; shaded: what was asked, the darkest being wrong.",
        pieces=[
            f"{cell}{chr(10) if (n + 1) % width == 0 else ' '}" for n, cell in enumerate(cells)
        ],
        values=[
            None if not one else 1.0 if good else 2.0
            for one, good in zip(asked.tolist(), right.tolist(), strict=True)
        ],
    )

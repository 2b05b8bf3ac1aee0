"""A toy domain with something of every kind to show."""

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import torch
from toy import Toy

from loopverse.domain import Think
from loopverse.exhibit import Curves, Estimate, Exhibit, HeatMap, Picture, Series, TableExhibit

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


class Showing(Toy):
    """The toy, with how likely its bits are at each depth, and what else there may be."""

    suggestions: ClassVar[dict[str, str]] = {
        "loopverse gaze {run} --bits 3": "look at it for longer"
    }

    def exhibits(
        self, think_at: Callable[[int], Think], loops: Sequence[int], trained: int
    ) -> Iterator[Exhibit]:
        batch = next(self.batches("valid", batch_size=4, seed=0)).to(self.bits.weight.device)
        assert not self.training
        means = [float(self(think_at(n), batch).loss) for n in loops]
        rows = [
            [f"{n} loops", mean, Estimate(mean, 0.25), None]
            for n, mean in zip(loops, means, strict=True)
        ]
        columns = ["depth", "nats <b>", "with interval", "nothing"]
        yield TableExhibit("Likelihood [by depth]", "Of `bits`.", columns, rows, "column")
        values = [[mean * place for place in (1.0, 2.0)] for mean in means]
        values[0][1] = None if trained == 0 else float("inf")
        yield HeatMap("Map", "What is where.", "place", ["a", "b"], "loops", loops, values, "nats")
        noise = float(torch.rand(()))
        yield Curves(
            "Lines & noise",
            "",
            "bits",
            "cost in $",
            [
                Series("first", [1, 2, 4], [0.5, noise, 0.25], [0.1, None, 0.2]),
                Series("second", [1, 2], [0.5, float("nan")]),
            ],
            log_x=True,
            log_y=True,
        )
        yield Picture("A dot", "It is still.", PNG, 'a "dot"')
        yield Picture("A dot!", "It moves.", GIF, "a moving dot")


class Failing(Showing):
    """One whose second exhibit cannot be made."""

    def exhibits(
        self, think_at: Callable[[int], Think], loops: Sequence[int], trained: int
    ) -> Iterator[Exhibit]:
        yield next(Showing.exhibits(self, think_at, loops, trained))
        raise OSError("no\n display")


class Strange(Showing):
    """One that shows something of a kind of its own."""

    def exhibits(
        self, think_at: Callable[[int], Think], loops: Sequence[int], trained: int
    ) -> Iterator[Exhibit]:
        yield Exhibit("bare", "")

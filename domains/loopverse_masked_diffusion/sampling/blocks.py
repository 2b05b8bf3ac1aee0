"""Blocks: which places a row fills at present, and how far it is with them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from loopverse_masked_diffusion.canvas import Canvas

ROUNDING = 1e-9  # of a block: far above the errors of float64, far below a step


@dataclass
class Stage:
    """Where each row stands within the block that it fills at present.

    A sampler sees nothing else, and so works block by block as it works on the whole: in every block
    a row goes through noise levels from 1 to 0, which together are one pass from 1 to 0.

    Attributes:
        rows: number of each row, for its draws.
        places: the editable places of the block.
        open: those of them that are masked.
        time: noise level within the block, in (0, 1].
        before: how many editable places are in blocks before.
        size: how many are in the block, at least 1.
        total: how many are in the row, at least 1.
        certainty: that of the canvas.
    """

    rows: Int[Tensor, " b"]
    places: Bool[Tensor, "b t"]
    open: Bool[Tensor, "b t"]
    time: Float[Tensor, " b"]
    before: Int[Tensor, " b"]
    size: Int[Tensor, " b"]
    total: Int[Tensor, " b"]
    certainty: Float[Tensor, "b t"]

    def outer(self, time: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Noise level of the row from that within the block: blocks count by their places."""
        return (self.total - self.before - self.size + time * self.size) / self.total


def locate(canvas: Canvas, block_length: int | None) -> Stage:
    """The leftmost block of each row that has something to fill.

    A block is `block_length` editable places: prompts and padding, wherever they are, do not count.
    A row whose clock has begun a block stays in it, filled or not, since some samplers mask again.
    """
    total = canvas.editable.sum(dim=1).clamp(min=1)
    length = total if block_length is None else torch.full_like(total, block_length)
    nth = (canvas.editable.cumsum(dim=1) - 1).clamp(min=0)  # editable place of its row, [b t]
    last = ((total - 1) // length)[:, None]
    first = (nth // length[:, None]).where(canvas.open, last).amin(dim=1)
    progress = (1 - canvas.time) * total / length  # in blocks
    begun = (progress - progress.round()).abs() > ROUNDING
    number = torch.where(begun, torch.minimum(first, progress.long()), first)
    before = number * length
    size = torch.minimum(length, total - before)
    inside = (nth >= before[:, None]) & (nth < (before + size)[:, None])
    places = canvas.editable & inside
    time = (canvas.time * total - (total - before - size)) / size
    return Stage(
        canvas.rows,
        places,
        places & canvas.masked,
        time.clamp(torch.finfo(torch.double).tiny, 1.0),
        before,
        size,
        total,
        canvas.certainty,
    )

"""Denoising: the one loop of sampling, whatever the sampler and whatever the model."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from loopverse.text import Draws
from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.sampling.sampler import Sampler


@runtime_checkable
class Denoiser(Protocol):
    """Says what the clean token of every place may be.

    Attributes:
        depends_on_time: whether the answer changes when only `canvas.time` does.
    """

    depends_on_time: bool

    def __call__(self, canvas: Canvas) -> Float[Tensor, "b t v"]:
        """Log-probabilities; what they say of committed places, or of the mask token, is not read."""
        ...


def denoise(
    denoiser: Denoiser, canvas: Canvas, sampler: Sampler, draws: Draws, *, reuse: bool = True
) -> Iterator[Canvas]:
    """The canvas of all rows after each step, until every row is done.

    A row that is done leaves the batch that the denoiser reads. So does one in which no token has
    changed since it was read, unless the answer depends on time (Sahoo et al. 2406.07524; Ou et al.
    2406.03736). What a row becomes depends neither on the rows beside it nor on `reuse`. With nothing to
    fill, no step is taken. The next step goes on from the canvas that was yielded, and so from what a
    caller has written into its tokens.

    Args:
        denoiser: the model.
        canvas: where to start.
        sampler: how to go on.
        draws: the randomness of each row.
        reuse: false reads every row at every step: the slow way that the fast one must equal.

    Raises:
        ValueError: the sampler cannot fill this canvas, or the denoiser returns another shape.
    """
    sampler.check(canvas)
    to_do = canvas.open.any(dim=1)
    start = replace(canvas, time=canvas.time * to_do)
    return _denoise(
        _Reader(denoiser, reuse and not denoiser.depends_on_time), start, sampler, draws
    )


def _denoise(reader: "_Reader", canvas: Canvas, sampler: Sampler, draws: Draws) -> Iterator[Canvas]:
    running = canvas.time.nonzero()[:, 0]
    while len(running):
        part = canvas.take(running)
        moved = sampler.step(reader.read(part), part, draws)
        canvas = canvas.put(running, moved)
        yield canvas
        going = moved.time > 0
        reader.keep(going)
        running = running[going]


class _Reader:
    """Asks the denoiser about the rows that changed, and remembers what it said of the others."""

    def __init__(self, denoiser: Denoiser, reuse: bool) -> None:
        self._denoiser = denoiser
        self._reuse = reuse
        self._tokens: Tensor | None = None
        self._answer: Tensor | None = None

    @torch.no_grad()
    def read(self, canvas: Canvas) -> Tensor:
        if self._answer is None or self._tokens is None or not self._reuse:
            answer = self._ask(canvas)
        else:
            answer = self._answer
            changed = (canvas.tokens != self._tokens).any(dim=1).nonzero()[:, 0]
            if len(changed) == len(canvas.tokens):
                answer = self._ask(canvas)
            elif len(changed):
                answer = answer.index_copy(0, changed, self._ask(canvas.take(changed)))
        self._answer, self._tokens = answer, canvas.tokens
        return answer

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        assert self._answer is not None, "nothing was read"
        assert self._tokens is not None, "nothing was read"
        if not bool(rows.all()):
            self._answer, self._tokens = self._answer[rows], self._tokens[rows]

    def _ask(self, canvas: Canvas) -> Tensor:
        answer = self._denoiser(canvas)
        if answer.ndim != 3 or answer.shape[:2] != canvas.tokens.shape:
            raise ValueError(
                f"a denoiser must return scores of shape {[*canvas.tokens.shape, 'vocab']}, "
                f"got {list(answer.shape)}"
            )
        return answer

"""What every sampler must do, as checks that a broken one is shown to fail.

Each takes the sampler, and no promise of how it draws is needed but that of `Draws`.
"""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

from loopverse.text import Draws
from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.denoising import denoise
from loopverse_masked_diffusion.sampling import Sampler

VOCAB = 5


class Pinned:
    """Says the same of every place of every canvas."""

    depends_on_time = False

    def __init__(self, log_probs: Tensor) -> None:
        self.log_probs = log_probs

    def __call__(self, canvas: Canvas) -> Tensor:
        return self.log_probs.expand(*canvas.tokens.shape, -1)


class Noisy:
    """Says of each place what its row looks like, and nothing else: no row depends on another.

    A stand-in for a network, whose matrix products may round a row otherwise in another batch.
    """

    depends_on_time = False

    def __init__(self, vocab: int = VOCAB) -> None:
        rng = torch.Generator().manual_seed(1)
        self.table = torch.randn(vocab + 1, vocab, generator=rng)
        self.rows: list[list[int]] = []  # of every call

    def __call__(self, canvas: Canvas) -> Tensor:
        self.rows.append(canvas.rows.tolist())
        place = torch.arange(canvas.tokens.shape[1])[:, None]
        seen = self.table[canvas.tokens]  # [b t v]
        visible = (seen * ~canvas.masked[..., None]).cumsum(1) + seen.flip(1).cumsum(1).flip(1)
        return 2 * (visible + place).sin()


class Scripted(Draws):
    """Gives the same number whenever one is asked for."""

    def __init__(self, number: float) -> None:
        super().__init__(0)
        self.number = number

    def _next(self, row: int, count: int) -> Tensor:
        return torch.full((count,), self.number, dtype=torch.double)


def steps_of(sampler: Sampler, denoiser, canvas: Canvas, draws: Draws, **more) -> Iterator[Canvas]:
    """All canvases, or so many that something must be wrong."""
    yield from islice(denoise(denoiser, canvas, sampler, draws, **more), 100)


def finish(sampler: Sampler, denoiser, canvas: Canvas, draws: Draws, **more) -> Canvas:
    """The last canvas."""
    return [canvas, *steps_of(sampler, denoiser, canvas, draws, **more)][-1]


def never_commits_a_mask(sampler: Sampler) -> None:
    """Not even when the model gives it all the probability."""
    for mask_id in range(VOCAB):
        for others in (-torch.inf, -100.0, -1.0):
            log_probs = torch.full((VOCAB,), others)
            log_probs[mask_id] = 0
            end = finish(sampler, Pinned(log_probs), Canvas.blank(3, 6, mask_id), Draws(0))
            assert not end.masked.any(), f"a mask was committed: {end.tokens.tolist()}"


def draws_tokens_in_full_precision(sampler: Sampler) -> None:
    """A token of probability 2^-40 is drawn when the draw is in the last 2^-40 of [0, 1)."""
    rare = 2.0**-40
    log_probs = torch.tensor([1 - rare, rare], dtype=torch.double).log()
    for number, expected in ((1 - rare / 2, 1), (1 - rare * 2, 0)):
        # The last noise level: what the sampler reveals at such draws, it reveals now.
        canvas = Canvas.blank(1, 1, mask_id=2)
        end = finish(sampler, Pinned(log_probs), canvas, Scripted(number))
        assert int(end.tokens) == expected, f"the draw {number} gave token {int(end.tokens)}"


def goes_down_in_time(sampler: Sampler, canvas: Canvas) -> None:
    """Noise levels are in (0, 1] and strictly decreasing, until a row is done."""
    before = canvas.time
    for after in steps_of(sampler, Noisy(), canvas, Draws(0)):
        running = before > 0
        assert ((after.time < before) | ~running).all(), "a noise level did not go down"
        assert (after.time[~running] == 0).all(), "a row that was done moved"
        before = after.time
    assert (before == 0).all(), "a row never ends"


def leaves_the_visible_alone(sampler: Sampler, canvas: Canvas) -> None:
    """What was not masked is carried over, and what is not editable is not written to."""
    given = ~canvas.open
    committed = canvas.tokens
    for after in steps_of(sampler, Noisy(), canvas, Draws(0)):
        assert (after.tokens == canvas.tokens)[given].all(), "a given token changed"
        if not sampler.revisits:
            kept = committed != canvas.mask_id
            assert (after.tokens == committed)[kept].all(), "a committed token changed"
        committed = after.tokens


def treats_each_row_alone(
    sampler: Sampler, canvas: Canvas, make_draws: Callable[[int], Draws]
) -> None:
    """A batch equals each of its rows alone, to the bit."""
    together = finish(sampler, Noisy(), canvas, make_draws(3))
    for row in range(len(canvas.tokens)):
        alone = finish(sampler, Noisy(), canvas.take(torch.tensor([row])), make_draws(3))
        same = torch.equal(alone.tokens, together.tokens[row : row + 1])
        assert same, f"row {row} is another alone"
        assert torch.equal(alone.certainty, together.certainty[row : row + 1])


def is_the_same_without_reuse(
    sampler: Sampler, canvas: Canvas, make_denoiser: Callable[[], Noisy]
) -> None:
    """Reusing answers saves work, and changes nothing to the bit."""
    quick, slow = make_denoiser(), make_denoiser()
    with_reuse = list(steps_of(sampler, quick, canvas, Draws(2)))
    without = list(steps_of(sampler, slow, canvas, Draws(2), reuse=False))
    for a, b in zip(with_reuse, without, strict=True):
        assert torch.equal(a.tokens, b.tokens), "reuse changed a token"
        assert torch.equal(a.time, b.time)
    assert sum(map(len, quick.rows)) <= sum(map(len, slow.rows))

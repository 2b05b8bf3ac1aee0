"""Denoising: the outer loop asks only what it must, and refuses what cannot be done."""

import pytest
import torch
from domains.masked_diffusion.checks import VOCAB, Noisy, finish, steps_of
from torch import Tensor

from loopverse.text import Draws
from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.denoising import denoise
from loopverse_masked_diffusion.sampling import (
    SAMPLERS,
    Ancestral,
    Confidence,
    EntropyBound,
    FirstHitting,
    Remasking,
    Sampler,
    Threshold,
)

MASK = VOCAB


def test_nothing_to_fill_takes_no_step() -> None:
    denoiser = Noisy()
    for kind in SAMPLERS.values():
        for tokens in (torch.ones(2, 3, dtype=torch.long), torch.ones(0, 3, dtype=torch.long)):
            canvas = Canvas.of(tokens, MASK)
            assert list(denoise(denoiser, canvas, kind(block_length=1), Draws(0))) == []
    assert denoiser.rows == []


def test_rows_that_are_done_leave_the_batch() -> None:
    tokens = torch.full((3, 6), MASK)
    tokens[1, 2:] = 0
    tokens[2] = 0
    denoiser = Noisy()
    canvases = list(steps_of(FirstHitting(), denoiser, Canvas.of(tokens, MASK), Draws(0)))
    assert denoiser.rows == [[0, 1], [0, 1], [0], [0], [0], [0]]
    assert [canvas.tokens.shape for canvas in canvases] == [(3, 6)] * 6
    assert (canvases[1].time == torch.tensor([canvases[1].time[0], 0, 0])).all()


def test_only_changed_rows_are_read_again() -> None:
    """Few masks and many steps: most steps reveal nothing."""
    tokens = torch.zeros(4, 12, dtype=torch.long)
    tokens[:, :3] = MASK
    denoiser = Noisy()
    before, expected = tokens, [[0, 1, 2, 3]]
    for canvas in steps_of(Ancestral(steps=40), denoiser, Canvas.of(tokens, MASK), Draws(0)):
        changed = (canvas.tokens != before).any(1) & (canvas.time > 0)
        expected += [changed.nonzero()[:, 0].tolist()] if changed.any() else []
        before = canvas.tokens
    assert denoiser.rows == expected
    assert sum(map(len, denoiser.rows)) <= 4 * 3


def test_a_denoiser_that_depends_on_time_is_asked_every_time() -> None:
    class Timed(Noisy):
        depends_on_time = True

    tokens = torch.zeros(1, 12, dtype=torch.long)
    tokens[:, :3] = MASK
    denoiser = Timed()
    taken = list(steps_of(Ancestral(steps=40), denoiser, Canvas.of(tokens, MASK), Draws(0)))
    assert len(denoiser.rows) == len(taken) > 10


def test_no_gradient_is_kept_and_yielding_does_not_switch_it_off() -> None:
    class Learned(Noisy):
        def __call__(self, canvas: Canvas) -> Tensor:
            assert not torch.is_grad_enabled()
            return super().__call__(canvas)

    for _ in denoise(Learned(), Canvas.blank(1, 4, MASK), FirstHitting(), Draws(0)):
        assert torch.is_grad_enabled()


SETTINGS = [
    (Ancestral, {"steps": 0}, "steps must be at least 1, got 0"),
    (Ancestral, {"temperature": -0.1}, "temperature must not be negative, got -0.1"),
    (Ancestral, {"temperature": float("nan")}, "temperature must not be negative, got nan"),
    (Ancestral, {"top_k": -1}, "top_k must be 0"),
    (Ancestral, {"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0.0"),
    (Ancestral, {"block_length": 0}, "block_length must be at least 1"),
    (Threshold, {"threshold": 1.1}, r"threshold must be in \[0, 1\], got 1.1"),
    (Threshold, {"threshold": -0.1}, r"threshold must be in \[0, 1\], got -0.1"),
    (EntropyBound, {"gamma": -1.0}, "gamma must not be negative, got -1.0"),
    (Remasking, {"eta": 1.5}, r"eta must be in \[0, 1\], got 1.5"),
    (Remasking, {"eta": -0.5}, r"eta must be in \[0, 1\], got -0.5"),
    (Remasking, {"schedule": "loop"}, "schedule must be one of cap, rescale, conf, got 'loop'"),
]


@pytest.mark.parametrize(("kind", "fields", "message"), SETTINGS)
def test_settings_out_of_range_are_refused(kind: type[Sampler], fields, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**fields)


def refused(sampler: Sampler, canvas: Canvas, message: str) -> None:
    """At once, and not when the first step is asked for."""
    with pytest.raises(ValueError, match=message):
        denoise(Noisy(), canvas, sampler, Draws(0))


def test_more_steps_than_masks_are_refused_where_each_step_reveals() -> None:
    canvas = Canvas.blank(2, 6, MASK)
    refused(Confidence(steps=7), canvas, "7 steps cannot reveal a token each in a row of 6 masks")
    canvas.tokens[1, :4] = 0
    refused(Confidence(steps=6), canvas, "in a row of 2 masks: set steps to 2 or less")
    assert not finish(Ancestral(steps=7), Noisy(), canvas, Draws(0)).open.any()


def test_more_blocks_than_steps_are_refused() -> None:
    canvas = Canvas.blank(1, 7, MASK)
    for kind in (Ancestral, Confidence, Remasking):
        refused(kind(steps=3, block_length=2), canvas, "4 blocks of 2 need at least 4 steps, got 3")
    assert not finish(FirstHitting(steps=3, block_length=2), Noisy(), canvas, Draws(0)).open.any()


def test_a_row_with_masks_at_the_end_of_time_is_refused() -> None:
    canvas = Canvas.blank(2, 3, MASK)
    canvas.time[1] = 0
    refused(Ancestral(), canvas, r"at a time in \(0, 1\], got \[1.0, 0.0\]: start at 1")


def test_wrong_answers_of_a_denoiser_are_refused() -> None:
    class Flat(Noisy):
        def __call__(self, canvas: Canvas) -> Tensor:
            return super().__call__(canvas)[:, 0]

    class Broken(Noisy):
        def __call__(self, canvas: Canvas) -> Tensor:
            return super().__call__(canvas) * torch.nan

    canvas = Canvas.blank(2, 3, MASK)
    with pytest.raises(ValueError, match=r"of shape \[2, 3, 'vocab'\], got \[2, 5\]"):
        finish(FirstHitting(), Flat(), canvas, Draws(0))
    with pytest.raises(ValueError, match="must be numbers, got nan at 2 masked places"):
        finish(FirstHitting(), Broken(), canvas, Draws(0))

"""Samplers: what all of them must do, and that each check finds the sampler that does not."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from domains.masked_diffusion.checks import (
    VOCAB,
    Noisy,
    draws_tokens_in_full_precision,
    finish,
    goes_down_in_time,
    is_the_same_without_reuse,
    leaves_the_visible_alone,
    never_commits_a_mask,
    steps_of,
    treats_each_row_alone,
)
from domains.masked_diffusion.oracle import Pooled
from torch import Tensor

from loopverse.text import Draws, choose
from loopverse_masked_diffusion import sampling
from loopverse_masked_diffusion.canvas import Canvas
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
BLOCKWISE = [
    kind(steps=4, block_length=length, temperature=temperature)
    for kind in SAMPLERS.values()
    for length, temperature in ((None, 1.0), (3, 0.7), (2, 0.0))
]
VARIANTS: list[Sampler] = [
    *BLOCKWISE,
    Remasking(steps=7, eta=0.5, schedule="cap"),
    Remasking(steps=7, eta=1.0, schedule="conf", block_length=4),
    Ancestral(steps=4, top_k=2),
    FirstHitting(top_p=0.6),
    Threshold(threshold=0.3),
    EntropyBound(gamma=2.0, block_length=3),
]
every_sampler = pytest.mark.parametrize("sampler", VARIANTS, ids=repr)


def partly_given() -> Canvas:
    """Rows at different stages: nothing given, much given, a prompt, padding, all given."""
    tokens = torch.full((5, 8), MASK)
    tokens[1, ::2] = torch.arange(4)
    tokens[2, :3] = 1
    tokens[3, :4] = 2
    tokens[4] = 3
    editable = tokens == MASK
    editable[3, 2:] = True  # tokens that may be masked again, and masks
    canvas = Canvas.of(tokens, MASK, editable)
    canvas.time[2] = 0.6
    return canvas


@every_sampler
def test_a_mask_is_never_committed(sampler: Sampler) -> None:
    never_commits_a_mask(sampler)


@every_sampler
def test_tokens_are_drawn_in_full_precision(sampler: Sampler) -> None:
    if sampler.temperature and not sampler.top_k and sampler.top_p == 1:
        draws_tokens_in_full_precision(
            replace(sampler, steps=1, temperature=1.0, block_length=None)
        )


@every_sampler
def test_noise_levels_go_down(sampler: Sampler) -> None:
    goes_down_in_time(sampler, partly_given())


@every_sampler
def test_what_is_visible_stays(sampler: Sampler) -> None:
    canvas = partly_given()
    canvas.editable &= canvas.masked  # whether others may change is the next test's business
    leaves_the_visible_alone(sampler, canvas)


def test_only_remasking_masks_again() -> None:
    masked_again = Remasking(steps=8, eta=1.0, schedule="cap")
    canvas = Canvas.blank(4, 16, MASK)
    with pytest.raises(AssertionError, match="a committed token changed"):
        leaves_the_visible_alone(_declared(masked_again, revisits=False), canvas)


@every_sampler
def test_every_mask_is_filled_at_the_end(sampler: Sampler) -> None:
    end = finish(sampler, Noisy(), partly_given(), Draws(0))
    assert not end.open.any()


@every_sampler
def test_a_batch_equals_each_row_alone(sampler: Sampler) -> None:
    treats_each_row_alone(sampler, partly_given(), Draws)


@every_sampler
def test_padding_changes_nothing(sampler: Sampler) -> None:
    """What is right of a row, and not editable, takes no draws and no place in a block."""
    canvas = Canvas.blank(3, 6, MASK)
    padded = Canvas.of(torch.nn.functional.pad(canvas.tokens, (0, 4), value=0), MASK)
    short = finish(sampler, Windowed(6), canvas, Draws(1))
    long = finish(sampler, Windowed(6), padded, Draws(1))
    assert torch.equal(short.tokens, long.tokens[:, :6])


class Windowed(Noisy):
    """Looks at the first places only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def __call__(self, canvas: Canvas) -> Tensor:
        seen = Canvas.of(canvas.tokens[:, : self.width], canvas.mask_id)
        answer = super().__call__(seen)
        return torch.nn.functional.pad(answer, (0, 0, 0, canvas.tokens.shape[1] - self.width))


@every_sampler
def test_reuse_changes_nothing_but_the_work(sampler: Sampler) -> None:
    is_the_same_without_reuse(sampler, partly_given(), Noisy)


@every_sampler
def test_scores_need_no_column_for_the_mask(sampler: Sampler) -> None:
    class Wider(Noisy):
        def __call__(self, canvas: Canvas) -> Tensor:
            return torch.nn.functional.pad(super().__call__(canvas), (0, 1), value=3.0)

    canvas = partly_given()
    with_column = finish(sampler, Wider(), canvas, Draws(2))
    without = finish(sampler, Noisy(), canvas, Draws(2))
    assert torch.equal(with_column.tokens, without.tokens)


@every_sampler
def test_a_step_writes_to_nothing_that_it_was_given(sampler: Sampler) -> None:
    canvas = Canvas.blank(3, 8, MASK)
    scores = Noisy()(canvas)
    before = scores.clone()
    after = sampler.step(scores, canvas, Draws(0))
    assert canvas.masked.all()
    assert (canvas.time == 1).all()
    assert torch.equal(scores, before)
    assert (after.time < 1).all()


@pytest.mark.parametrize("kind", SAMPLERS.values())
def test_blocks_are_filled_from_left_to_right(kind: type[Sampler]) -> None:
    tokens = torch.full((1, 9), MASK)
    tokens[0, 2] = 1  # given, and so in no block
    sampler = kind(steps=6, block_length=3)
    blocks = [[0, 1, 3], [4, 5, 6], [7, 8]]
    for canvas in steps_of(sampler, Noisy(), Canvas.of(tokens, MASK), Draws(0)):
        masks = [int(canvas.masked[0, block].sum()) for block in blocks]
        for block, (earlier, later) in enumerate(pairwise(masks)):
            untouched = later == len(blocks[block + 1])
            assert untouched or earlier == 0, f"block {block + 1} was begun too early: {masks}"
    assert masks == [0, 0, 0]


def test_steps_are_shared_out_over_the_places_of_the_blocks() -> None:
    masks = [
        int(canvas.masked.sum())
        for canvas in steps_of(
            Confidence(steps=5, block_length=4), Noisy(), Canvas.blank(1, 10, MASK), Draws(0)
        )
    ]
    assert masks == [8, 6, 4, 2, 0]


def test_the_most_certain_go_first_in_equal_shares() -> None:
    numbers = [
        int(canvas.masked.sum())
        for canvas in steps_of(Confidence(steps=4), Noisy(), Canvas.blank(1, 10, MASK), Draws(0))
    ]
    assert numbers == [7, 4, 2, 0]


# The checks find what they look for.


def _declared(sampler: Sampler, *, revisits: bool) -> Sampler:
    kind = type(sampler)
    return type(kind.__name__, (kind,), {"revisits": revisits})(**vars(sampler))


def test_a_committed_mask_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_mask(self: sampling.sampler.Scores, places: Tensor) -> Tensor:
        return self.log_probs[places].clamp(min=-1e30)

    monkeypatch.setattr(sampling.sampler.Scores, "at", with_mask)
    for kind in SAMPLERS.values():
        with pytest.raises(AssertionError, match="a mask was committed"):
            never_commits_a_mask(kind(steps=4))


def test_a_gumbel_draw_in_float32_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def gumbel(scores: Tensor, draws: Tensor, **_: float) -> Tensor:
        noise = torch.rand(scores.shape, generator=torch.Generator().manual_seed(0))
        return (scores.float() - (-noise.log()).log()).argmax(dim=-1)

    def single(scores: Tensor, draws: Tensor, **_: float) -> Tensor:
        return choose(scores, draws.float().clamp(max=1 - 2.0**-24).double())

    for planted in (gumbel, single):
        monkeypatch.setattr(sampling.sampler, "choose", planted)
        for kind in SAMPLERS.values():
            with pytest.raises(AssertionError, match="gave token 0"):
                draws_tokens_in_full_precision(kind(steps=1))


class Standing(Ancestral):
    """The bug: a noise level that stays."""

    def _time(self, before, after, stage, moves):
        return (
            before.time.clone()
            if before.time[0] < 0.9
            else super()._time(before, after, stage, moves)
        )


class Overwriting(Ancestral):
    """The bug: given tokens are drawn as well."""

    def step(self, log_probs: Tensor, canvas: Canvas, draws: Draws) -> Canvas:
        after = super().step(log_probs, canvas, draws)
        return replace(after, tokens=after.tokens.where(canvas.masked, 0))


@pytest.mark.parametrize(
    ("planted", "check", "complaint"),
    [
        (Standing(steps=20), goes_down_in_time, "did not go down"),
        (Overwriting(steps=4), leaves_the_visible_alone, "a given token changed"),
    ],
)
def test_a_wrong_sampler_is_found(
    planted: Sampler, check: Callable[[Sampler, Canvas], None], complaint: str
) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check(planted, partly_given())


def test_rows_that_share_a_generator_are_found() -> None:
    with pytest.raises(AssertionError, match="is another alone"):
        treats_each_row_alone(Ancestral(steps=4), partly_given(), Pooled)


def test_a_stale_answer_is_found() -> None:
    class Lying(Noisy):
        """Depends on time and does not say so."""

        def __call__(self, canvas: Canvas) -> Tensor:
            favourite = (canvas.time * 997).long() % VOCAB
            bonus = 9 * torch.nn.functional.one_hot(favourite, VOCAB)
            return super().__call__(canvas) + bonus[:, None]

    with pytest.raises(AssertionError, match="reuse changed"):
        is_the_same_without_reuse(Ancestral(steps=30), partly_given(), Lying)

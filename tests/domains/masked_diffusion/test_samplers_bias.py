"""Samplers that reveal several places at once make the error that theory says, and no other.

Even with a perfect model, tokens revealed together are independent given what was visible. The exact
distribution that follows is computed by enumeration, from each sampler's definition written a second
time, place by place; the samples must follow it, and the joint of the chain they must miss.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
import torch
from domains.masked_diffusion.oracle import (
    NUM_DRAWS,
    Chain,
    Plan,
    Pooled,
    State,
    at_random,
    chi_square,
    law,
    total_variation,
)
from torch import Tensor

from loopverse.text import Draws
from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.denoising import denoise
from loopverse_masked_diffusion.sampling import (
    Ancestral,
    Confidence,
    Entropy,
    EntropyBound,
    Margin,
    Remasking,
    Sampler,
    Threshold,
)

CHAIN = Chain(3)
MASK = CHAIN.mask_id


def ancestral(steps: int) -> list[Plan]:
    return [
        lambda state, _, left=left: at_random(state, MASK, reveal=1 / left, hide=0)
        for left in range(steps, 0, -1)
    ]


def remasking(steps: int, sigma_of: Callable[[float], float]) -> list[Plan]:
    """Wang et al. 2503.00307 with alpha = 1 - t; `sigma_of` the greatest sigma there may be."""

    def plan(alpha: float, later: float) -> Plan:
        sigma = sigma_of(min(1.0, (1 - later) / alpha) if alpha else 1.0)
        reveal = (later - (1 - sigma) * alpha) / (1 - alpha)
        return lambda state, _: at_random(state, MASK, reveal, sigma)

    return [plan(step / steps, (step + 1) / steps) for step in range(steps)]


def ranked(state: State, certainty: Tensor) -> list[int]:
    masks = [place for place, token in enumerate(state) if token == MASK]
    return sorted(masks, key=lambda place: -float(certainty[place]))


def surely(places: Iterable[int]) -> Iterable[tuple[float, State]]:
    found = set(places)
    yield 1.0, tuple(int(place in found) for place in range(CHAIN.length))


def entropies(probs: Tensor) -> Tensor:
    return torch.special.entr(probs).sum(-1)


def margins(probs: Tensor) -> Tensor:
    best = probs.sort(descending=True).values
    return best[:, 0] - best[:, 1]


def certain_first(certainty: Callable[[Tensor], Tensor], *counts: int) -> list[Plan]:
    return [
        lambda state, probs, count=count: surely(ranked(state, certainty(probs))[:count])
        for count in counts
    ]


def above(threshold: float) -> list[Plan]:
    def plan(state: State, probs: Tensor) -> Iterable[tuple[float, State]]:
        order = ranked(state, probs.amax(-1))
        sure = [place for place in order if probs[place].max() > threshold]
        return surely([*sure, *order[:1]])

    return [plan] * CHAIN.length


def bounded(gamma: float) -> list[Plan]:
    def plan(state: State, probs: Tensor) -> Iterable[tuple[float, State]]:
        found = entropies(probs)
        order = ranked(state, -found)
        fits = [
            num
            for num in range(1, len(order) + 1)
            if sum(found[order[:num]]) - max(found[order[:num]]) <= gamma
        ]
        return surely(order[: max(fits, default=0)])

    return [plan] * CHAIN.length


APPROXIMATE: list[tuple[Sampler, list[Plan]]] = [
    (Ancestral(steps=1), ancestral(1)),
    (Ancestral(steps=3), ancestral(3)),
    (Remasking(steps=4, eta=0.3, schedule="cap"), remasking(4, lambda most: min(0.3, most))),
    (Remasking(steps=4, eta=0.6, schedule="rescale"), remasking(4, lambda most: 0.6 * most)),
    (Confidence(steps=2), certain_first(lambda probs: probs.amax(-1), 2, 1)),
    (Margin(steps=2), certain_first(margins, 2, 1)),
    (Entropy(steps=2), certain_first(lambda probs: -entropies(probs), 2, 1)),
    (Confidence(steps=1), certain_first(lambda probs: probs.amax(-1), 3)),
    (Threshold(threshold=0.0), above(0.0)),
    (Threshold(threshold=0.47), above(0.47)),
    (EntropyBound(gamma=1.04), bounded(1.04)),
    (EntropyBound(gamma=9.0), bounded(9.0)),
]


@pytest.mark.parametrize(
    ("sampler", "plans"), APPROXIMATE, ids=[repr(sampler) for sampler, _ in APPROXIMATE]
)
def test_samples_follow_the_law_of_the_sampler(sampler: Sampler, plans: list[Plan]) -> None:
    counts, expected = CHAIN.counts(sampler), law(CHAIN, plans)
    assert chi_square(counts, expected) < 1
    assert chi_square(counts, CHAIN.joint) > 2


def test_all_at_once_is_the_product_of_the_marginals() -> None:
    joint = CHAIN.joint.reshape([3] * 3)
    first, second, third = joint.sum((1, 2)), joint.sum((0, 2)), joint.sum((0, 1))
    product = (first[:, None, None] * second[:, None] * third).flatten()
    for sampler in (
        Ancestral(steps=1),
        Confidence(steps=1),
        Threshold(threshold=0),
        EntropyBound(gamma=9),
    ):
        assert chi_square(CHAIN.counts(sampler), product) < 1


def test_the_error_of_the_ancestral_sampler_falls_as_one_over_the_steps() -> None:
    errors = [total_variation(law(CHAIN, ancestral(n)), CHAIN.joint) for n in (2, 4, 8, 16)]
    ratios = [late / early for early, late in pairwise(errors)]
    assert all(0.4 < ratio < 0.6 for ratio in ratios), errors
    assert errors[-1] < 0.03


def test_remasking_without_remasking_is_ancestral_to_the_bit() -> None:
    blank = Canvas.blank(500, 3, MASK)
    for schedule in ("cap", "rescale", "conf"):
        ours = denoise(CHAIN, blank, Remasking(steps=5, eta=0, schedule=schedule), Draws(0))
        for found, wanted in zip(
            ours, denoise(CHAIN, blank, Ancestral(steps=5), Draws(0)), strict=False
        ):
            assert torch.equal(found.tokens, wanted.tokens)


@pytest.mark.parametrize("schedule", ["cap", "rescale"])
def test_remasking_keeps_the_marginals(schedule: str) -> None:
    """At noise level s, each place is masked with probability s and else has its true marginal."""
    chain = Chain(1)
    sampler = Remasking(steps=6, eta=0.5, schedule=schedule)
    masked_again, before = 0, None
    for canvas in denoise(chain, Canvas.blank(NUM_DRAWS, 1, MASK), sampler, Pooled(0)):
        s = float(canvas.time[0])
        expected = torch.cat([chain.first * (1 - s), torch.tensor([s])])
        counts = torch.bincount(canvas.tokens[:, 0], minlength=4)
        num = 4 if s else 3
        assert chi_square(counts[:num], expected[:num]) < 1
        if before is not None:
            masked_again += int((canvas.masked & ~before).sum())
        before = canvas.masked
    assert masked_again > 1000


def test_remasking_by_confidence_doubts_the_least_certain() -> None:
    """Two committed tokens, one certain: the other is masked again, as the softmax says."""
    tokens = torch.tensor([0, 0, 1, 3]).expand(NUM_DRAWS, -1)
    certainty = torch.tensor([0.9, 0.1, torch.inf, torch.inf]).expand(NUM_DRAWS, -1)
    canvas = Canvas.of(tokens, MASK, editable=torch.ones_like(tokens, dtype=torch.bool))
    canvas.time[:] = 0.5
    canvas.certainty = certainty
    sampler = Remasking(steps=4, eta=0.8, schedule="conf")
    after = sampler.step(Chain(4)(canvas), canvas, Pooled(0))
    share = after.masked.double().mean(0)
    limit = 0.8 * min(1, 0.25 / 0.5)
    expected = limit * torch.tensor([-0.9, -0.1]).double().softmax(0)
    assert torch.allclose(share[:2], expected, atol=0.02)
    assert share[2] == 0  # given
    assert abs(share[3] - 0.5) < 0.02  # from 0.5 to 0.25
    gone = after.masked & ~canvas.masked
    assert (after.certainty[gone] == torch.inf).all()

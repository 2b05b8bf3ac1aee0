"""With a perfect model, samplers that reveal one place at a time make exact samples.

Every distribution is compared with the joint of the chain in closed form: 20 000 draws, chi-square
at 1 %, a fixed seed.
"""

import pytest
import torch
from domains.masked_diffusion.oracle import Chain, chi_square

from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.sampling import (
    Ancestral,
    Confidence,
    Entropy,
    EntropyBound,
    FirstHitting,
    Margin,
    Remasking,
    Sampler,
    Threshold,
)

CHAIN = Chain(4)

EXACT = [
    FirstHitting(),
    Confidence(steps=4),
    Margin(steps=4),
    Entropy(steps=4),
    EntropyBound(gamma=0),
    Threshold(threshold=1),
    FirstHitting(block_length=2),
    Confidence(steps=4, block_length=3),
    Entropy(steps=4, block_length=1),
    EntropyBound(gamma=0, block_length=2),
    Ancestral(steps=4, block_length=1),
    Remasking(steps=4, eta=0, block_length=1),
]


@pytest.mark.parametrize("sampler", EXACT, ids=repr)
def test_samples_follow_the_joint(sampler: Sampler) -> None:
    assert chi_square(CHAIN.counts(sampler), CHAIN.joint) < 1


def test_a_text_given_in_part_is_completed_as_it_should_be() -> None:
    """Infilling: the second and third of 1 ? ? 2."""
    tokens = torch.tensor([1, 3, 3, 2]).expand(20_000, -1)
    counts = CHAIN.counts(FirstHitting(), Canvas.of(tokens, mask_id=3)).reshape([3] * 4)
    expected = CHAIN.joint.reshape([3] * 4)[1, :, :, 2].flatten()
    assert counts[1, :, :, 2].sum() == 20_000
    assert chi_square(counts[1, :, :, 2].flatten(), expected / expected.sum()) < 1


class Sharpened(FirstHitting):
    """The bug: a temperature that nobody asked for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.temperature = 0.9


class Hasty(FirstHitting):
    """The bug: the two leftmost places at once."""

    def moves(self, scores, stage, draws):
        moves = super().moves(scores, stage, draws)
        moves.reveal = stage.open & (stage.open.cumsum(dim=1) <= 2)
        return moves


@pytest.mark.parametrize("planted", [Sharpened(), Hasty()], ids=repr)
def test_a_wrong_sampler_is_found(planted: Sampler) -> None:
    assert chi_square(CHAIN.counts(planted), CHAIN.joint) > 2

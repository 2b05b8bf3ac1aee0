"""The token distribution is torch's categorical, faster."""

import pytest
import torch
from torch.distributions import Categorical, kl_divergence
from torch.testing import assert_close

from loopverse.text import TokenDistribution


@pytest.fixture
def raw() -> torch.Tensor:
    return 3 * torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)) + 10


def test_it_agrees_with_the_categorical_distribution(raw: torch.Tensor) -> None:
    ours, theirs = TokenDistribution(raw), Categorical(logits=raw)
    value = torch.arange(10).view(2, 5) % 7
    assert ours.batch_shape == (2, 5)
    assert_close(ours.log_prob(value), theirs.log_prob(value), atol=1e-5, rtol=1e-5)
    assert_close(
        ours.log_prob(torch.tensor(3)), theirs.log_prob(torch.tensor(3)), atol=1e-5, rtol=1e-5
    )
    assert_close(ours.entropy(), theirs.entropy(), atol=1e-5, rtol=1e-5)
    assert_close(ours.probs, theirs.probs, atol=1e-5, rtol=1e-5)
    assert_close(ours.logits, theirs.logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(ours.mode, theirs.mode)
    assert_close(ours.enumerate_support(), theirs.enumerate_support(), atol=1e-5, rtol=1e-5)


def test_divergences_between_two_agree(raw: torch.Tensor) -> None:
    ours, theirs = TokenDistribution(raw), Categorical(logits=raw)
    other = raw.flip(-1)
    expected = kl_divergence(theirs, Categorical(logits=other))
    assert_close(kl_divergence(ours, TokenDistribution(other)), expected, atol=1e-5, rtol=1e-5)
    assert_close(kl_divergence(ours, Categorical(logits=other)), expected, atol=1e-5, rtol=1e-5)


def test_samples_follow_the_probabilities(raw: torch.Tensor) -> None:
    torch.manual_seed(0)
    drawn = TokenDistribution(raw[0, 0]).sample(torch.Size([20_000]))
    shares = torch.bincount(drawn, minlength=7) / 20_000
    assert torch.allclose(shares, raw[0, 0].softmax(-1), atol=0.02)


def test_it_expands(raw: torch.Tensor) -> None:
    wide = TokenDistribution(raw).expand(torch.Size([3, 2, 5]))
    assert wide.batch_shape == (3, 2, 5)
    assert torch.equal(wide.probs[1], TokenDistribution(raw).probs)


def test_logits_of_low_precision_are_normalised_in_float32(raw: torch.Tensor) -> None:
    prediction = TokenDistribution(raw.bfloat16())
    assert prediction.log_prob(torch.zeros(2, 5, dtype=torch.long)).dtype == torch.float32
    assert torch.allclose(prediction.probs.sum(-1), torch.ones(2, 5), atol=1e-5)


def test_training_through_it_never_normalises(raw: torch.Tensor) -> None:
    prediction = TokenDistribution(raw.requires_grad_())
    prediction.log_prob(torch.zeros(2, 5, dtype=torch.long)).sum().backward()
    assert not {"logits", "probs"} & vars(prediction).keys()

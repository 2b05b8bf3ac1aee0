"""Noise: every way to draw it hides what it says, weighs it right, and spreads it as it promises."""

import pytest
import torch
from torch import Tensor

from loopverse_masked_diffusion import MASKINGS, FixedCount, Independent, LowDiscrepancy, Masking
from loopverse_masked_diffusion.masking import hidden_at


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def everything(rows: int = 8, length: int = 12) -> Tensor:
    return torch.ones(rows, length, dtype=torch.bool)


@pytest.mark.parametrize("name", MASKINGS)
def test_weighted_hidden_tokens_count_every_token_once_on_average(name: str) -> None:
    """With a loss of one per token the bound is one per token: E[scale * hidden] = 1 everywhere.

    Where counts are fixed this holds for every draw, to rounding.
    """
    masking, rng, present = MASKINGS[name](), generator(), everything()
    present[0, 5:] = False
    draws = [masking.draw(present, rng) for _ in range(3000)]
    weights = torch.stack([d.places * d.scale[:, None] for d in draws]).double()
    means = weights.mean(0)
    assert not weights[:, ~present].any()
    per_row = means.sum(1) / present.sum(1)
    spread = (weights.sum(2) / present.sum(1)).std(0) / len(draws) ** 0.5
    assert bool(((per_row - 1).abs() < 4 * spread + 1e-6).all())
    if name == "fixed_count":
        assert torch.allclose(means[present], torch.ones_like(means[present]), atol=0.25)


def test_a_fixed_count_hides_exactly_as_many_as_it_weighs() -> None:
    present = everything(6, 10)
    present[2, 4:] = False
    present[3] = False
    for seed in range(20):
        masked = FixedCount().draw(present, generator(seed))
        hidden, total = masked.places.sum(1), present.sum(1)
        assert bool((hidden[total > 0] >= 1).all())
        assert hidden[3] == 0
        assert masked.scale[3] == 0
        there = total > 0
        assert torch.allclose(masked.scale[there] * hidden[there], total[there].float())
        assert torch.allclose(masked.level[there], (hidden / total)[there].float())


@pytest.mark.parametrize("masking", [LowDiscrepancy(), FixedCount()])
def test_noise_is_spread_evenly_over_the_batch(masking: Masking) -> None:
    """One row in each of eight equal parts of (0, 1], in an order that varies."""
    orders = set()
    for seed in range(10):
        level = masking.draw(everything(8, 64), generator(seed)).level
        part = (level.double() * 8 - 1e-6).floor().long()
        assert sorted(part.tolist()) == list(range(8))
        orders.add(tuple(part.tolist()))
    assert len(orders) > 5


def test_independent_noise_is_not_spread() -> None:
    levels = torch.stack(
        [Independent().draw(everything(), generator(seed)).level for seed in range(200)]
    )
    parts = (levels * 8 - 1e-6).floor().sort(dim=1).values
    assert (parts == torch.arange(8)).all(dim=1).float().mean() < 0.1


@pytest.mark.parametrize("name", MASKINGS)
def test_noise_follows_from_its_generator_and_stays_in_its_range(name: str) -> None:
    masking = MASKINGS[name]()
    one, two = (masking.draw(everything(), generator(3)) for _ in range(2))
    assert torch.equal(one.places, two.places)
    other = masking.draw(everything(), generator(4))
    assert not torch.equal(one.places, other.places)
    assert bool(((one.level > 0) & (one.level <= 1)).all())


@pytest.mark.parametrize("level", [0.0, -0.1, 1.5, float("nan")])
def test_a_level_outside_its_range_is_refused(level: float) -> None:
    levels = torch.tensor([0.5, level], dtype=torch.double)
    with pytest.raises(ValueError, match=r"noise level must be in \(0, 1\], got"):
        hidden_at(levels, everything(2), generator())

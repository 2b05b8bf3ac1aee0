"""The bound: on a source whose likelihood is known, with its perfect model, every estimate is right.

A perfect model makes the bound tight: revealing tokens in a random order, each with its exact
conditional probability, costs the likelihood, whatever the order.
"""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from domains.masked_diffusion.oracle import Chain
from torch import Tensor

from loopverse_masked_diffusion import (
    MASKINGS,
    FixedCount,
    Independent,
    LowDiscrepancy,
    Masked,
    Masking,
    nelbo,
)
from loopverse_masked_diffusion.likelihood import BatchError

CHAIN = Chain(length=8)


def sequences(num: int = 16, seed: int = 0) -> Tensor:
    """Drawn from the chain."""
    rng = torch.Generator().manual_seed(seed)
    tokens = [torch.multinomial(CHAIN.first, num, replacement=True, generator=rng)]
    for _ in range(CHAIN.length - 1):
        tokens.append(torch.multinomial(CHAIN.after[tokens[-1]], 1, generator=rng)[:, 0])
    return torch.stack(tokens, dim=1)


def truth(tokens: Tensor) -> float:
    """Nats per token, in closed form."""
    nats = CHAIN.first[tokens[:, 0]].log().sum()
    nats += CHAIN.after[tokens[:, :-1], tokens[:, 1:]].log().sum()
    return float(-nats / tokens.numel())


def log_probs(tokens: Tensor) -> Tensor:
    return CHAIN.conditionals(tokens).log()


estimated = partial(nelbo, log_probs, mask_id=CHAIN.mask_id)


def deviations(masking: Masking, passes: int = 1500, seed: int = 0) -> float:
    """How many standard errors an estimate is off the truth."""
    bound = estimated(sequences(), masking=masking, passes=passes, seed=seed)
    return abs(bound.nats - truth(sequences())) / bound.error


@pytest.mark.parametrize("name", MASKINGS)
def test_every_estimate_is_unbiased(name: str) -> None:
    assert deviations(MASKINGS[name]()) < 3


class Unweighted(FixedCount):
    """Planted: every hidden token counts alike, however many are hidden."""

    def draw(self, present: Tensor, rng: torch.Generator) -> Masked:
        masked = super().draw(present, rng)
        masked.scale = torch.full_like(masked.scale, 2.0)
        return masked


class OneShort(FixedCount):
    """Planted: a count that is off by one."""

    def draw(self, present: Tensor, rng: torch.Generator) -> Masked:
        masked = super().draw(present, rng)
        total = present.sum(dim=1)
        masked.scale = total / (total / masked.scale + 1)
        return masked


@pytest.mark.parametrize("masking", [Unweighted(), OneShort()])
def test_a_wrong_weight_is_found(masking: Masking) -> None:
    assert deviations(masking) > 3


def variance(masking: Masking, scores: Callable[[Tensor], Tensor], tokens: Tensor) -> float:
    """Of one pass."""
    return nelbo(scores, tokens, 3, masking=masking, passes=400).error ** 2 * 400


def test_a_fixed_count_makes_the_estimate_surer() -> None:
    """On the chain, where 1/t is what varies most."""
    fixed = variance(FixedCount(), log_probs, sequences())
    assert fixed < 0.4 * variance(LowDiscrepancy(), log_probs, sequences())


def test_spread_out_levels_halve_the_variance_where_the_loss_depends_on_the_level() -> None:
    """As that of text does: the fewer tokens are visible, the harder are the others."""
    tokens = torch.zeros(8, 256, dtype=torch.long)

    def scores(masked: Tensor) -> Tensor:
        share = (masked == 3).double().mean(dim=1)
        return (-6 * share)[:, None, None].expand(-1, 256, 3)

    spread = variance(LowDiscrepancy(), scores, tokens)
    assert spread < 0.5 * variance(Independent(), scores, tokens)


def test_the_error_is_what_repeated_estimates_show() -> None:
    bounds = [estimated(sequences(), passes=10, seed=seed) for seed in range(60)]
    spread = torch.tensor([bound.nats for bound in bounds]).std()
    stated = math.sqrt(sum(bound.error**2 for bound in bounds) / len(bounds))
    assert float(spread) == pytest.approx(stated, rel=0.25)
    assert bounds[0].draws == 160


def test_padding_costs_nothing() -> None:
    tokens = torch.cat([sequences(8), torch.full((8, 3), 1)], dim=1)
    present = torch.ones_like(tokens, dtype=torch.bool)
    present[:, CHAIN.length :] = False

    def scores(masked: Tensor) -> Tensor:
        known = log_probs(masked[:, : CHAIN.length])
        return torch.cat([known, torch.full((8, 3, 3), -50.0).double()], dim=1)

    bound = nelbo(scores, tokens, CHAIN.mask_id, passes=800, present=present)
    assert abs(bound.nats - truth(sequences(8))) < 3 * bound.error


def test_a_single_pass_has_no_error_and_none_is_refused() -> None:
    assert math.isnan(estimated(sequences()).error)
    with pytest.raises(ValueError, match="at least 1 pass, got 0"):
        estimated(sequences(), passes=0)
    with pytest.raises(ValueError, match="holds the token 3"):
        estimated(torch.full((1, 8), CHAIN.mask_id))


def test_an_error_over_batches_needs_two_of_them() -> None:
    metric = BatchError()
    metric.update(torch.ones(4), torch.ones(4))
    metric.update(torch.ones(4), torch.zeros(4))  # nothing counts: no batch
    assert math.isnan(float(metric.compute()))
    metric.update(torch.full((4,), 3.0), torch.ones(4))
    assert float(metric.compute()) == pytest.approx(1.0)

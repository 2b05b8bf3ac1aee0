"""Losses on states that nothing is decoded from, written out."""

import pytest
import torch

from loopverse_world_model.deferred import LatentLosses, horizon_at

STATES = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
FEATURES = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
WEIGHTS = torch.tensor([[1.0] * 5, [1.0] * 3 + [0.0] * 2, [1.0] + [0.0] * 4])


def test_the_latent_loss_is_the_distance_to_what_is_observed() -> None:
    losses = LatentLosses(8, 4, latent_weight=0.5, smooth_weight=0.0, smooth_limit=0.0)
    assert losses.project is not None
    distance = (losses.project(STATES) - FEATURES).square().mean(-1)
    expected = 0.5 * (distance * WEIGHTS).sum() / 9
    assert torch.allclose(losses(STATES, FEATURES, WEIGHTS), expected)


def test_no_gradient_reaches_what_is_observed() -> None:
    losses = LatentLosses(8, 4, latent_weight=1.0, smooth_weight=0.0, smooth_limit=0.0)
    features = FEATURES.clone().requires_grad_()
    states = STATES.clone().requires_grad_()
    losses(states, features, WEIGHTS).backward()
    assert features.grad is None
    assert states.grad is not None


@pytest.mark.parametrize("limit", [0.0, 1.2, 5.0])
def test_only_the_path_beyond_the_limit_costs(limit: float) -> None:
    losses = LatentLosses(8, 4, latent_weight=0.0, smooth_weight=2.0, smooth_limit=limit)
    excess = []
    for row, count in zip(STATES, (4, 2, 0), strict=True):
        length = sum(float((row[k + 1] - row[k]).square().mean().sqrt()) for k in range(count))
        excess.append(max(0.0, length - count * limit))
    got = losses(STATES, FEATURES, WEIGHTS)
    assert float(got) == pytest.approx(2.0 * sum(excess) / 3, abs=1e-4)


def test_no_gradient_of_a_state_that_stands_still_is_undefined() -> None:
    losses = LatentLosses(8, 4, latent_weight=0.0, smooth_weight=1.0, smooth_limit=0.0)
    states = torch.zeros(2, 3, 8, requires_grad=True)
    losses(states, FEATURES[:2, :3], torch.ones(2, 3)).backward()
    assert states.grad is not None
    assert bool(states.grad.isfinite().all())


def test_the_horizon_grows_by_one_and_stops() -> None:
    assert [horizon_at(n, 4, 10) for n in (0, 9, 10, 29, 30, 1000)] == [1, 1, 2, 3, 4, 4]
    assert horizon_at(0, 7, 0) == 7

"""What the data say of themselves."""

import torch

from loopverse_world_model.statistics import fading, spread


def walk(num_episodes: int, length: int, decay: float, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Episodes of `x' = decay x + noise` of deviation one, and the number of each record's episode."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(num_episodes, generator=rng, dtype=torch.double) / (1 - decay**2) ** 0.5
    rows = []
    for _ in range(length):
        rows.append(x)
        x = decay * x + torch.randn(num_episodes, generator=rng, dtype=torch.double)
    values = torch.stack(rows, 1).reshape(-1, 1)
    return values, torch.arange(num_episodes).repeat_interleave(length)


def test_an_observation_fades_as_its_correlation_does() -> None:
    values, episode = walk(400, 60, 0.9)
    kept, missed = fading(values, episode, 20)
    powers = 0.9 ** torch.arange(1, 21)
    assert torch.allclose(kept[:, 0], powers, atol=0.03)
    assert torch.allclose(missed[:, 0], ((1 - powers**2) / (1 - 0.81)) ** 0.5, rtol=0.03)


def test_what_never_changes_is_kept_and_counted_in_ones() -> None:
    kept, missed = fading(torch.full((30, 1), 7.0), torch.zeros(30).long(), 3)
    assert torch.equal(missed, torch.ones(3, 1))
    assert bool(kept.isfinite().all())
    assert torch.equal(spread(torch.full((30, 1), 7.0)).std, torch.ones(1))


def test_pairs_do_not_cross_the_end_of_an_episode() -> None:
    """Two constant episodes far apart: nothing ever changes."""
    values = torch.cat([torch.zeros(20, 1), torch.full((20, 1), 100.0)])
    kept, missed = fading(values, torch.arange(2).repeat_interleave(20), 5)
    assert torch.allclose(kept, torch.ones(5, 1))
    assert torch.allclose(missed, torch.ones(5, 1))


def test_beyond_the_longest_episode_the_last_figures_go_on() -> None:
    values, episode = walk(50, 5, 0.9)
    kept, missed = fading(values, episode, 10)
    assert torch.equal(kept[4:], kept[3].expand(6, 1))
    assert torch.equal(missed[4:], missed[3].expand(6, 1))

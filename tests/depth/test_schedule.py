"""Schedules draw depths of the promised distribution, the same for every rank."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor

from loopverse.depth import (
    Constant,
    InverseCost,
    LognormalPoisson,
    LoopSchedule,
    Poisson,
    Ramp,
    Uniform,
)

RANDOM = [
    Uniform(2, 5),
    Uniform(2, 5, per_sequence=True),
    Poisson(3.5),
    Poisson(3.5, per_sequence=True),
    LognormalPoisson(6),
    LognormalPoisson(6, per_sequence=True),
]
ALL = [Constant(3), Ramp(1, 4), *RANDOM]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def many(schedule: LoopSchedule, count: int = 20_000) -> Tensor:
    drawn = schedule.draw(count, rng=generator())
    assert isinstance(drawn, Tensor)
    return drawn


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_the_draw_is_one_depth_or_one_per_sequence_and_at_least_one(schedule: LoopSchedule) -> None:
    rng = generator()
    for _ in range(50):
        drawn = schedule.draw(7, rng=rng)
        if getattr(schedule, "per_sequence", False):
            assert isinstance(drawn, Tensor)
            assert drawn.shape == (7,)
            assert drawn.dtype == torch.long
        else:
            assert isinstance(drawn, int)
        deepest, least = (int(f(torch.as_tensor(drawn))) for f in (torch.max, torch.min))
        assert least >= 1
        assert deepest <= (schedule.largest() or math.inf)
    assert 1 <= schedule.typical() <= (schedule.largest() or math.inf)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_all_ranks_agree_whatever_else_they_draw(schedule: LoopSchedule) -> None:
    ranks = [generator(5), generator(5)]
    for progress in (0.0, 0.3, 1.0):
        torch.randn(3)  # a rank's own randomness
        drawn = [schedule.draw(4, progress=progress, rng=rng) for rng in ranks]
        assert torch.equal(torch.as_tensor(drawn[0]), torch.as_tensor(drawn[1]))


@pytest.mark.parametrize("schedule", RANDOM, ids=repr)
def test_depths_vary_from_step_to_step(schedule: LoopSchedule) -> None:
    rng = generator()
    drawn = {str(schedule.draw(2, rng=rng)) for _ in range(30)}
    assert len(drawn) > 2


def chi_square(observed: Tensor, probability: Tensor) -> float:
    """Pearson's statistic, small cells joined, over its 99.9 % quantile (Wilson and Hilferty)."""
    expected = probability * observed.sum()
    keep = expected >= 5
    cells = [
        torch.cat([values[keep], values[~keep].sum()[None]]) for values in (observed, expected)
    ]
    statistic = ((cells[0] - cells[1]).square() / cells[1].clamp(min=1e-9)).sum()
    freedom = int(keep.sum())
    quantile = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
    return float(statistic) / quantile


def poisson_probability(mean: float, count: int) -> Tensor:
    k = torch.arange(count, dtype=torch.float64)
    return torch.exp(k * math.log(mean) - mean - torch.lgamma(k + 1))


@pytest.mark.parametrize("mean", [1.0, 4.0, 8.0])
def test_poisson_depths_have_the_poisson_distribution_with_zero_counted_as_one(mean: float) -> None:
    observed = torch.bincount(many(Poisson(mean, per_sequence=True)), minlength=60).double()
    probability = poisson_probability(mean, len(observed))
    probability[1] += probability[0]
    probability[0] = 0
    assert chi_square(observed[1:], probability[1:]) < 1


def test_uniform_depths_are_equally_frequent() -> None:
    observed = torch.bincount(many(Uniform(3, 6, per_sequence=True))).double()
    assert observed[:3].sum() == 0
    assert chi_square(observed[3:], torch.full((4,), 0.25, dtype=torch.float64)) < 1


def test_every_depth_gets_the_same_share_of_the_layers_under_inverse_cost() -> None:
    schedule, rng = InverseCost(1, 4, prelude=1, loop=2, coda=3), torch.Generator().manual_seed(0)
    observed = torch.bincount(torch.tensor([schedule.draw(1, rng=rng) for _ in range(20_000)]))
    cost = torch.tensor([6, 8, 10, 12]).double()
    assert chi_square(observed[1:].double(), (1 / cost) / (1 / cost).sum()) < 1
    spent = observed[1:] * cost
    assert float(spent.max() / spent.min()) < 1.1


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0])
def test_lognormal_poisson_depths_have_their_mean_and_their_heavy_tail(sigma: float) -> None:
    """Variance of a mixed Poisson: `mean + mean^2 (exp(sigma^2) - 1)`."""
    drawn = many(LognormalPoisson(32, sigma, per_sequence=True), 100_000).double()
    assert drawn.min() >= 1
    assert drawn.mean().item() == pytest.approx(33, rel=0.02)
    variance = 32 + 32**2 * (math.exp(sigma**2) - 1)
    assert drawn.var().item() == pytest.approx(variance, rel=0.1)


@examples(40)
@given(
    start=st.integers(1, 4),
    more=st.integers(0, 6),
    until=st.floats(0.05, 1),
    moments=st.lists(st.floats(0, 1), min_size=2, max_size=6),
)
def test_a_ramp_grows_from_its_start_to_its_end_and_stays(
    start: int, more: int, until: float, moments: list[float]
) -> None:
    ramp = Ramp(start, start + more, until)
    depths = [ramp.draw(1, progress=progress, rng=generator()) for progress in sorted(moments)]
    assert depths == sorted(depths)
    assert ramp.draw(1, progress=0.0, rng=generator()) == start
    assert ramp.draw(1, progress=until, rng=generator()) == start + more
    assert ramp.draw(1, rng=generator()) == start + more


def test_a_ramp_stays_equally_long_at_every_depth_on_its_way() -> None:
    ramp = Ramp(2, 5, until=0.8)
    depths = [ramp.draw(1, progress=n / 1000, rng=generator()) for n in range(800)]
    assert [depths.count(depth) for depth in (2, 3, 4, 5)] == pytest.approx([200] * 4, abs=1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Constant(0), "schedule.loops must be at least 1, got 0"),
        (lambda: InverseCost(1, 4, loop=0), "schedule.loop must be at least 1, got 0"),
        (lambda: InverseCost(1, 4, coda=-1), "schedule.coda must be at least 0, got -1"),
        (lambda: Uniform(0, 3), "schedule.low must be at least 1, got 0"),
        (lambda: Uniform(3, 2), r"schedule.high must be at least schedule.low \(3\), got 2"),
        (lambda: Poisson(0.5), "schedule.mean must be at least 1, got 0.5"),
        (lambda: LognormalPoisson(0), "schedule.mean must be at least 1, got 0"),
        (lambda: LognormalPoisson(4, -1), "schedule.sigma must be at least 0, got -1"),
        (lambda: Ramp(5, 4), r"schedule.loops must be at least schedule.start \(5\), got 4"),
        (lambda: Ramp(until=0), r"schedule.until must be in \(0, 1\], got 0"),
    ],
)
def test_impossible_schedules_are_refused_by_name(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()

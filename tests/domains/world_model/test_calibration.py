"""Calibration: of predictions whose chances are known to be right, or wrong by a known factor."""

from typing import Any

import pytest
import torch
from domains.world_model.models import adapter_of, make_model
from domains.world_model.planted import adapter_for, records_of, walker, walks
from gymnasium import spaces
from torch.distributions import Normal

from loopverse_world_model.evaluation import calibration
from loopverse_world_model.evaluation.calibration import LEVELS, Calibration

NOISE = 0.2


def calibrated(factor: float) -> Calibration:
    """Of a model that says that the walk's noise is so many times what it is."""
    records = walks([400, 400], noise=NOISE)
    adapter, think = walker(records)
    leaf: Any = adapter.dynamics.leaves["value"]
    with torch.no_grad():
        leaf.head.bias[2:] = unclamped(leaf, factor * NOISE)
        reward: Any = adapter.dynamics.reward
        reward.low.copy_(reward.high)  # exact, so nothing to be learned of the noise
    return calibration(adapter, think, [1], records=records)


def unclamped(leaf: Any, std: float) -> float:
    """The output of the head that stands for a deviation, which is held between bounds smoothly."""
    low, high = -6.0, 2.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        outputs = torch.tensor([0.0, 0.0, middle, middle])
        found = float(leaf.distribution(outputs).base_dist.scale[0])
        low, high = (middle, high) if found < std else (low, middle)
    return low


def test_right_deviations_are_covered_as_often_as_they_say() -> None:
    found = calibrated(1.0).coverage
    assert found is not None
    for level in LEVELS:
        share = found.share(1, level)
        assert share is not None
        assert share.value == pytest.approx(level, abs=0.03)
    assert found.off < 0.02
    assert found.share(2, 0.5) is None


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_wrong_deviations_are_off_by_what_the_normal_distribution_says(factor: float) -> None:
    found = calibrated(factor).coverage
    assert found is not None
    gaps = []
    for level in LEVELS:
        width = Normal(0.0, 1.0).icdf(torch.tensor((1 + level) / 2))
        expected = float(2 * Normal(0.0, 1.0).cdf(factor * width) - 1)
        share = found.share(1, level)
        assert share is not None
        assert share.value == pytest.approx(expected, abs=0.03)
        gaps.append(abs(share.value - level))
    assert found.off == pytest.approx(sum(gaps) / len(gaps), abs=1e-6)


def test_numbers_that_never_change_say_nothing() -> None:
    records = walks([30])
    adapter, think = walker(records)
    for model in (adapter.dynamics.leaves["value"], adapter.dynamics.reward):
        constant: Any = model
        constant.high.copy_(constant.low)
    found = calibration(adapter, think, [1], records=records)
    assert found.coverage is None
    assert found.reliability == {}  # no episode of these ends


def test_the_chance_to_go_on_is_held_against_how_often_it_went_on() -> None:
    """Episodes of four steps, of a model that says three quarters whatever it sees: on the diagonal."""
    records = walks([4] * 50, ends=True)
    adapter, think = walker(records)
    with torch.no_grad():
        adapter.dynamics.going.bias.fill_(torch.tensor(0.75).logit())
    found = calibration(adapter, think, [1], records=records).reliability
    assert list(found) == ["continue"]
    going = found["continue"]
    assert going.predicted == pytest.approx([0.75] * 10)
    total = sum(one.value for one in going.happened) / 10
    assert total == pytest.approx(0.75)
    with torch.no_grad():
        adapter.dynamics.going.bias.fill_(torch.tensor(0.95).logit())
    sure = calibration(adapter, think, [1], records=records).reliability["continue"]
    assert sure.off == pytest.approx(0.2, abs=0.02)


def test_the_most_likely_category_is_right_as_often_as_it_was_likely() -> None:
    adapter = adapter_for(spaces.Discrete(3), spaces.Discrete(2))
    rng = torch.Generator().manual_seed(0)
    chances = torch.tensor([0.2, 0.7, 0.1])
    observed = chances.multinomial(1001, replacement=True, generator=rng)
    records = records_of([observed], [torch.zeros(1000, dtype=torch.long)], [torch.zeros(1000)])
    adapter.dynamics.fit(records)
    with torch.no_grad():
        for parameter in adapter.dynamics.parameters():
            parameter.zero_()
        leaf: Any = adapter.dynamics.leaves["value"]
        leaf.head.bias.copy_(chances.log())
    _, think = walker(walks([4]))
    found = calibration(adapter, think, [1], records=records)
    assert found.coverage is None  # of a constant reward and no numbers
    one = found.reliability["value"]
    assert one.predicted == pytest.approx([0.7] * 10)
    assert sum(share.value for share in one.happened) / 10 == pytest.approx(0.7, abs=0.05)


def test_every_kind_of_leaf_is_taken_into_account() -> None:
    model = make_model("nested")
    adapter = adapter_of(model)
    found = calibration(adapter, model.bind(2), [1, 3], records=adapter.source.records("valid"))
    assert set(found.reliability) == {"arm.0", "bits", "cards", "a/b", "continue"}
    assert found.coverage is not None
    assert found.coverage.horizons == (1, 3)

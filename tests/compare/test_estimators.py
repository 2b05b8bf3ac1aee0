"""Planted truth is found again, with intervals that hold it as often as they say."""

import math
import random
from collections.abc import Mapping
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from loopverse.compare import uncertainty
from loopverse.compare.estimators import (
    _falling,
    cost_to_target,
    equivalent,
    exponent,
    gain_stops,
    pareto,
    verdict,
)
from loopverse.compare.uncertainty import Interval, means

ONCE, LOOPED, PHI = 40_000.0, 60_000.0, 0.46
LAYERS = (1, 2, 4, 8, 16)
LOOPS = (2, 4, 8)
BASELINES = {f"untied{n}": ONCE + n * LOOPED for n in LAYERS}
ARMS = {loops: f"looped{loops}" for loops in LOOPS}
STUDIES = 500


def truth(parameters: float) -> float:
    """Straight lines between the logarithms of the sizes, as a fit through baselines has them."""
    return 3.0 - 0.12 * math.log(parameters / (ONCE + LOOPED))


def study(seed: int, seeds: int, noise: float, phi: float = PHI) -> Mapping[str, dict[int, float]]:
    """Losses of baselines and looped arms; what a seed does to all alike is larger than the noise."""
    rng = random.Random(seed)
    shift = [rng.gauss(0, 5 * noise) for _ in range(seeds)]
    sizes = dict(BASELINES) | {name: ONCE + loops**phi * LOOPED for loops, name in ARMS.items()}
    return {
        name: {s: truth(size) + shift[s] + rng.gauss(0, noise) for s in range(seeds)}
        for name, size in sizes.items()
    }


def holds(interval: Interval, value: float) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= value <= interval.high


@pytest.fixture
def _fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for the middle 95 %, and a quarter of the time."""
    monkeypatch.setattr(uncertainty, "DRAWS", 1000)


@pytest.mark.usefixtures("_fewer_draws")
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int) -> None:
    found = {"multiplier": 0, "exponent": 0, "difference": 0}
    for number in range(STUDIES):
        known = means(study(number, seeds, 0.01), seed=number)
        one = equivalent("looped4", ONCE + LOOPED, BASELINES, known)
        found["multiplier"] += holds(one.multiplier, (ONCE + 4**PHI * LOOPED) / (ONCE + LOOPED))
        found["exponent"] += holds(exponent(ONCE, LOOPED, ARMS, BASELINES, known), PHI)
        apart = truth(ONCE + 4**PHI * LOOPED) - truth(ONCE + 4 * LOOPED)
        found["difference"] += holds(known.difference("looped4", "untied4"), apart)
    shares = {name: count / STUDIES for name, count in found.items()}
    assert all(0.90 <= share <= 0.98 for share in shares.values()), shares


@pytest.mark.usefixtures("_fewer_draws")
def test_a_planted_tie_gives_no_verdict() -> None:
    told = 0
    for number in range(STUDIES):
        losses = study(number, 3, 0.01, phi=0.0)  # loops are worth nothing
        known = means(losses, seed=number)
        told += verdict(known, "looped4", "untied1") != "not told"
    assert told / STUDIES < 0.1


def test_a_planted_difference_gets_the_right_verdict() -> None:
    right = sum(
        verdict(means(study(number, 3, 0.01)), "looped8", "untied1") == "better"
        for number in range(50)
    )
    assert right == 50


@pytest.mark.parametrize(("best", "worth"), [(2, 0.02), (4, 0.01), (8, 0.0005)])
def test_the_planted_number_of_loops_is_found(best: int, worth: float) -> None:
    gains = {1: 0.0, 2: 0.10, 4: 0.15, 8: 0.16}
    arms = {loops: f"looped{loops}" for loops in gains}
    rng = random.Random(0)
    right = 0
    for number in range(100):
        losses = {
            name: {s: 3.0 - gains[loops] + rng.gauss(0, 0.0005) for s in range(3)}
            for loops, name in arms.items()
        }
        found = gain_stops(arms, {r: float(r) for r in gains}, means(losses, number), worth)
        assert found is not None
        right += found.loops == best and found.sure and not found.hurts
    assert right >= 95


def test_loops_that_hurt_are_named() -> None:
    losses = {
        "looped1": {0: 3.0, 1: 3.01},
        "looped2": {0: 2.8, 1: 2.81},
        "looped4": {0: 2.9, 1: 2.911},
    }
    arms = {1: "looped1", 2: "looped2", 4: "looped4"}
    found = gain_stops(arms, {1: 1.0, 2: 2.0, 4: 4.0}, means(losses))
    assert found is not None
    assert (found.loops, found.sure, found.hurts) == (2, True, [4])


def test_one_seed_has_no_intervals_and_no_verdict() -> None:
    known = means(study(0, 1, 0.01))
    one = equivalent("looped4", ONCE + LOOPED, BASELINES, known)
    assert (one.multiplier.low, one.multiplier.high) == (None, None)
    assert exponent(ONCE, LOOPED, ARMS, BASELINES, known).low is None
    assert verdict(known, "looped4", "untied1") == "not told"
    assert gain_stops(ARMS, {2: 1.0, 4: 2.0, 8: 4.0}, known) is None


@pytest.mark.parametrize(
    ("loss", "extrapolated", "least", "most"),
    [(2.0, True, 16.0, math.inf), (2.8, False, 1.0, 16.0), (4.0, True, 0.0, 1.0)],
)
def test_what_no_baseline_reaches_is_said_to_be_extrapolated(
    loss: float, extrapolated: bool, least: float, most: float
) -> None:
    losses = {name: {0: truth(size)} for name, size in BASELINES.items()} | {"own": {0: loss}}
    found = equivalent("own", ONCE + LOOPED, BASELINES, means(losses))
    assert found.extrapolated == extrapolated
    assert least <= found.multiplier.value <= most
    assert truth(found.parameters.value) == pytest.approx(loss)


def test_a_fit_that_is_flat_at_its_end_never_gets_lower() -> None:
    losses = {"small": {0: 3.0}, "large": {0: 2.0}, "larger": {0: 2.0}, "own": {0: 1.9}}
    sizes = {"small": 1e3, "large": 2e3, "larger": 4e3}
    assert equivalent("own", 1e3, sizes, means(losses)).parameters.value == math.inf


@examples(50)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_a_falling_fit_falls_and_keeps_what_falls_already(values: list[float]) -> None:
    (fitted,) = _falling(torch.tensor([values], dtype=torch.double)).tolist()
    assert all(a >= b - 1e-9 for a, b in pairwise(fitted))
    assert sum(fitted) == pytest.approx(sum(values), abs=1e-9)
    falling = sorted(values, reverse=True)
    assert _falling(torch.tensor([falling], dtype=torch.double))[0].tolist() == pytest.approx(
        falling
    )


def test_a_target_is_reached_between_two_points() -> None:
    curve = [(1.0, 3.0), (2.0, 2.0), (4.0, 1.0)]
    assert cost_to_target(curve, 1.5) == 3.0
    assert cost_to_target(curve, 3.5) == 1.0
    assert cost_to_target(curve, 0.5) == math.inf


def test_the_front_is_what_nothing_beats_in_both() -> None:
    points = {"a": (1.0, 3.0), "b": (2.0, 2.0), "c": (2.0, 2.5), "d": (3.0, 2.0), "e": (4.0, 1.0)}
    assert pareto(points) == ["a", "b", "e"]


@pytest.mark.parametrize(
    ("losses", "line"),
    [({"a": {}}, "arm 'a' needs at least one run"), ({"a": {0: math.nan}}, "finite loss, got")],
)
def test_an_arm_without_a_finite_run_is_refused(
    losses: dict[str, dict[int, float]], line: str
) -> None:
    with pytest.raises(ValueError, match=line):
        means(losses)


def test_two_baselines_of_one_size_are_refused() -> None:
    losses = {"a": {0: 3.0}, "b": {0: 2.0}, "own": {0: 2.5}}
    with pytest.raises(ValueError, match="at least two sizes, each once"):
        equivalent("own", 1.0, {"a": 10.0, "b": 10.0}, means(losses))

"""Learning rates over a run."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopverse.training.rate import Cosine, Trapezoid

shares = st.floats(0, 0.45)
rates = st.one_of(
    st.builds(Cosine, warmup=shares, floor=st.floats(0, 1)),
    st.builds(Trapezoid, warmup=shares, cooldown=st.floats(0.05, 0.45), floor=st.floats(0, 1)),
)


@given(rates, st.integers(1, 300))
def test_the_rate_goes_up_then_down_and_is_never_zero(rate: Cosine | Trapezoid, steps: int) -> None:
    factors = [rate.factor(step, steps) for step in range(steps)]
    top = factors.index(max(factors))
    assert all(0 < factor <= 1 for factor in factors)
    assert all(a <= b + 1e-12 for a, b in pairwise(factors[: top + 1]))
    assert all(a >= b - 1e-12 for a, b in pairwise(factors[top:]))


@given(rates)
def test_a_long_run_reaches_the_peak_and_ends_near_the_floor(rate: Cosine | Trapezoid) -> None:
    factors = [rate.factor(step, 10_000) for step in range(10_000)]
    assert max(factors) == pytest.approx(1, abs=1e-3)
    assert factors[-1] == pytest.approx(rate.floor, abs=0.01)


def test_a_trapezoid_is_flat_between_its_slopes() -> None:
    rate = Trapezoid(warmup=0.1, cooldown=0.2)
    assert {rate.factor(step, 100) for step in range(10, 80)} == {1.0}


@pytest.mark.parametrize(
    ("build", "setting"),
    [
        (lambda: Cosine(warmup=1.0), "rate.warmup"),
        (lambda: Cosine(floor=1.5), "rate.floor"),
        (lambda: Trapezoid(warmup=0.6, cooldown=0.5), "rate.cooldown"),
    ],
)
def test_impossible_settings_are_refused(build: type, setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        build()

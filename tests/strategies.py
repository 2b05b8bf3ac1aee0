"""What hypothesis may draw, and how: masks of every kind, and the same noise for the same example."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, register_random, settings
from hypothesis import strategies as st

from loopverse.nn import Attend


class _TorchRandom:
    """PyTorch's generator as hypothesis knows generators, so that a failing example fails again."""

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


_TORCH = _TorchRandom()
register_random(_TORCH)  # type: ignore[arg-type]  # which is all that hypothesis asks of it


@pytest.fixture(autouse=True)
def same_noise() -> None:
    """Every test draws the same global noise, whichever tests ran before."""
    torch.manual_seed(0)


def examples(count: int) -> Callable:
    """So many examples of a property, however slow and busy the machine."""
    return settings(deadline=None, max_examples=count, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def attends(draw: st.DrawFn, rows: int, length: int) -> Attend:
    """Causal or not, with or without padding, with or without documents packed in a row."""

    def table(entry: st.SearchStrategy) -> torch.Tensor | None:
        if not draw(st.booleans()):
            return None
        return torch.tensor([[draw(entry) for _ in range(length)] for _ in range(rows)])

    return Attend(draw(st.booleans()), table(st.booleans()), table(st.integers(0, 2)))

"""Injections equal their published equations, and hold what they promise about them."""

import pytest
import torch
from cores import stir
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor

from loopverse.nn import (
    Add,
    Concat,
    Inject,
    Injection,
    NoInjection,
    Retention,
    RetentionResidual,
    Scaled,
)


def states() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    z, e, h, g = torch.randn(4, 2, 3, 8)
    return z, e, h, g


def built(settings: Injection, num_layers: int = 2) -> Inject:
    torch.manual_seed(0)
    return stir(settings.build(8, num_layers), 0.3)


def test_without_injection_the_block_reads_the_state_alone() -> None:
    z, e, h, g = states()
    inject = built(NoInjection())
    assert torch.equal(inject.read(z, e), z)
    assert torch.equal(inject.residual(h, g), h + g)
    assert torch.equal(inject.write(z, e, h), h)


def test_addition_adds() -> None:
    z, e, h, _ = states()
    inject = built(Add())
    assert torch.equal(inject.read(z, e), z + e)
    assert torch.equal(inject.write(z, e, h), h)


def test_concatenation_is_a_matrix_for_each_half() -> None:
    z, e, h, _ = states()
    inject = built(Concat())
    of_z, of_e = inject.linear.weight.split(8, dim=1)
    torch.testing.assert_close(inject.read(z, e), z @ of_z.T + e @ of_e.T)
    assert torch.equal(inject.write(z, e, h), h)


def zero_order_hold(inject: Inject, z: Tensor, e: Tensor) -> Tensor:
    """`exp(Delta A) z + Delta B e` in float64, from the parameters as the paper names them."""
    a, delta, b = (p.detach().double() for p in (inject.a, inject.delta, inject.b))
    step = torch.log1p(torch.exp(delta))
    held = torch.exp(torch.diag(step) @ torch.diag(-torch.exp(a)))
    held = torch.diag(torch.diagonal(held))
    return z.double() @ held.T + (e.double() @ b.T) * step


@pytest.mark.parametrize("kind", [Retention, RetentionResidual])
def test_retention_holds_the_state_with_the_zero_order_formula(kind: type[Retention]) -> None:
    z, e, h, _ = states()
    inject = built(kind())
    expected = zero_order_hold(inject, z, e).float()
    if kind is Retention:
        torch.testing.assert_close(inject.read(z, e), expected)
        assert torch.equal(inject.write(z, e, h), h)
    else:
        assert torch.equal(inject.read(z, e), z + e)
        torch.testing.assert_close(inject.write(z, e, h), expected + h - (z + e))


@examples(30)
@given(st.floats(0.01, 0.99))
def test_retention_starts_at_the_decay_asked_for_with_the_input_let_in_whole(decay: float) -> None:
    inject = Retention(decay).build(8, 2)
    z, e, *_ = states()
    torch.testing.assert_close(inject.read(z, 0 * e), decay * z, atol=1e-6, rtol=1e-5)
    step = -torch.log(torch.tensor(decay))
    torch.testing.assert_close(inject.read(0 * z, e), step * e, atol=1e-6, rtol=1e-5)


@examples(30)
@given(st.floats(-20, 20), st.floats(-20, 5))
def test_the_decay_stays_below_one_wherever_training_takes_its_parameters(
    delta: float, a: float
) -> None:
    inject = Retention().build(8, 2)
    with torch.no_grad():
        inject.delta.fill_(delta)
        inject.a.fill_(a)
    kept = inject.read(torch.ones(1, 1, 8), torch.zeros(1, 1, 8))
    assert (kept >= 0).all()
    assert (kept <= 1).all()


@examples(30)
@given(num_layers=st.integers(1, 5), stream=st.floats(0.05, 0.95), state=st.floats(0.05, 0.95))
def test_gains_of_the_state_and_of_all_branches_sum_to_one(
    num_layers: int, stream: float, state: float
) -> None:
    """`b2 = 1 - a2 a1^2L` is the gain of all branches together, `a2 a1^2L` that of the state."""
    inject = stir(Scaled(stream, state).build(8, num_layers), 0.2)
    ones, zeros = torch.ones(1, 1, 8), torch.zeros(1, 1, 8)
    kept, both = inject.read(ones, zeros), inject.read(ones, zeros)
    for _ in range(2 * num_layers):
        kept = inject.residual(kept, zeros)
        both = inject.residual(both, ones)
    torch.testing.assert_close(both, ones)
    torch.testing.assert_close(both - kept, inject.read(zeros, ones))  # b2, from the input's side


def test_scaled_residuals_start_at_the_published_gains() -> None:
    z, e, h, g = states()
    inject = Scaled().build(8, 3)
    a1, a2 = 0.75, 0.25
    b2 = 1 - a2 * a1**6
    b1 = b2 * (1 - a1) / (1 - a1**6)
    torch.testing.assert_close(inject.read(z, e), a2 * z + b2 * e)
    torch.testing.assert_close(inject.residual(h, g), a1 * h + b1 * g)


@pytest.mark.parametrize(
    "settings", [Retention(), RetentionResidual(), Scaled()], ids=lambda s: type(s).__name__
)
def test_gains_and_decays_are_not_decayed_by_the_optimizer(settings: Injection) -> None:
    assert all(p.no_weight_decay for p in settings.build(8, 2).parameters())


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: Retention(decay=1.0), "core.injection.decay"),
        (lambda: RetentionResidual(decay=0.0), "core.injection.decay"),
        (lambda: Scaled(stream=1.5), "core.injection.stream"),
        (lambda: Scaled(state=-0.1), "core.injection.state"),
    ],
)
def test_gains_outside_zero_and_one_are_refused(build, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be in \(0, 1\), got"):
        build()

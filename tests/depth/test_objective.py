"""Objectives: how much the loss after each loop counts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor

from loopverse.depth import Every, ExitHead, Expected, Final


def states(count: int, scale: float = 1.0) -> list[Tensor]:
    rng = torch.Generator().manual_seed(count)
    return list(scale * torch.randn(count, 2, 3, 4, generator=rng))


def test_only_the_last_loop_counts_by_default() -> None:
    assert Final().weights(states(3), None) == (None, None)
    assert not Final().every_loop


def test_every_loop_counts_alike() -> None:
    weights, extra = Every().weights(states(4), None)
    assert torch.equal(weights, torch.full((4, 2, 3), 0.25))
    assert extra is None


@examples(30)
@given(count=st.integers(1, 6), scale=st.sampled_from([0.1, 1.0, 50.0]), beta=st.floats(0, 1))
def test_expected_weights_are_the_exit_distribution_and_its_entropy_is_rewarded(
    count: int, scale: float, beta: float
) -> None:
    torch.manual_seed(0)
    head = ExitHead(4)
    weights, extra = Expected(beta).weights(states(count, scale), head)
    gates = [torch.sigmoid(head(z)).double() for z in states(count, scale)]
    gates[-1] = torch.ones_like(gates[-1])  # the last loop takes what is left
    naive, reached = [], torch.ones(2, 3, dtype=torch.float64)
    for gate in gates:
        naive.append(gate * reached)
        reached = reached * (1 - gate)
    expected = torch.stack(naive)
    torch.testing.assert_close(weights.double(), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(weights.sum(0), torch.ones(2, 3))
    entropy = -torch.special.xlogy(expected, expected).sum(0)
    torch.testing.assert_close(extra.double(), -beta * entropy, atol=1e-4, rtol=1e-3)


def test_the_gate_learns_from_the_losses_and_from_the_entropy() -> None:
    torch.manual_seed(0)
    head, read = ExitHead(4), states(3)
    losses = torch.tensor([3.0, 1.0, 2.0])[:, None, None]
    for objective in (Expected(0.0), Expected(0.5)):
        head.zero_grad()
        weights, extra = objective.weights(read, head)
        ((losses * weights).sum(0) + extra).mean().backward()
        assert all(p.grad is not None and p.grad.any() for p in head.parameters())


def test_saturated_gates_leave_finite_gradients() -> None:
    head, read = ExitHead(4), [z.requires_grad_() for z in states(3, 1e4)]
    weights, extra = Expected().weights(read, head)
    (weights.sum() + extra.sum()).backward()
    assert all(z.grad is None or z.grad.isfinite().all() for z in read)


def test_a_negative_bonus_is_refused() -> None:
    with pytest.raises(ValueError, match="objective.beta must be at least 0, got -0.1"):
        Expected(-0.1)

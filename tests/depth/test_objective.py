"""Objectives: how much the loss after each loop counts."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor, nn

from loopverse.depth import (
    DepthHead,
    Every,
    ExitGate,
    ExitHead,
    Expected,
    ExpertRouting,
    Final,
    GateDistillation,
    LoopObjective,
    Pondered,
    TokenRouting,
)


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


class First(ExitHead):
    """A gate whose logit is the first channel, and that has something to learn."""

    def forward(self, z: Tensor) -> Tensor:
        return z[..., 0] + 0 * self.linear(z).squeeze(-1)


def gates(*probabilities: float) -> list[Tensor]:
    """States of one unit whose gates stop with these probabilities."""
    return [torch.tensor([[[math.log(p / (1 - p))]]]) for p in probabilities]


def test_pondering_is_held_by_a_geometric_prior_cut_off_after_the_last_loop() -> None:
    weights, extra = Pondered(beta=0.3, prior=0.4).weights(gates(0.5, 0.2, 0.9), First(1))
    found = [0.5, 0.5 * 0.2, 0.5 * 0.8]  # the last loop takes what is left
    total = 0.4 + 0.4 * 0.6 + 0.4 * 0.6**2
    prior = [0.4 / total, 0.4 * 0.6 / total, 0.4 * 0.6**2 / total]
    divergence = sum(p * math.log(p / g) for p, g in zip(found, prior, strict=True))
    torch.testing.assert_close(weights.flatten(), torch.tensor(found))
    torch.testing.assert_close(extra, torch.tensor([[0.3 * divergence]]))


def test_pondering_as_the_prior_does_costs_nothing() -> None:
    total = 0.2 + 0.2 * 0.8 + 0.2 * 0.64
    first, second = 0.2 / total, 0.16 / total
    _, extra = Pondered(1.0, 0.2).weights(gates(first, second / (1 - first), 0.5), First(1))
    torch.testing.assert_close(extra, torch.zeros(1, 1), atol=1e-6, rtol=0)


def test_a_gate_is_taught_whether_a_loop_was_worth_it() -> None:
    losses = [3.0, 2.9, 2.98, 2.975]
    gains = [0.1, 0.0, 0.005]
    targets = [1 / (1 + math.exp(-50 * (gain - 0.005))) for gain in gains]
    assert targets[2] == pytest.approx(0.5)
    objective, stopping = GateDistillation(), [0.1, 0.3, 0.6, 0.8]
    table = torch.tensor(losses)[:, None, None]
    torch.testing.assert_close(objective.target(table).flatten(), torch.tensor(targets))
    lesson = objective.lesson(gates(*stopping), First(1))
    entropies = [
        -target * math.log(1 - stop) - (1 - target) * math.log(stop)
        for target, stop in zip(targets, stopping[1:], strict=True)
    ]
    found = lesson.loss(table, lesson.logits)
    torch.testing.assert_close(found, torch.tensor([[sum(entropies) / 3]]))


def test_one_loop_teaches_a_gate_nothing() -> None:
    lesson = GateDistillation().lesson(states(1), ExitHead(4))
    loss = lesson.loss(torch.ones(1, 2, 3), lesson.logits)
    assert torch.equal(loss, torch.zeros(2, 3))
    loss.sum().backward()


def test_nothing_but_the_gate_learns_from_its_lesson() -> None:
    head, read = ExitHead(4), [z.requires_grad_() for z in states(3)]
    losses = torch.rand(3, 2, 3, requires_grad=True)
    lesson = GateDistillation().lesson(read, head)
    lesson.loss(losses, lesson.logits).sum().backward()
    assert losses.grad is None
    assert all(z.grad is None for z in read)
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())


def test_a_gate_is_taught_what_the_choice_among_a_sequence_would_be() -> None:
    wish = torch.tensor([[3.0, 2.0, 1.0], [-1.0, 0.5, 9.0], [0.0, 0.0, 0.0]])  # [loops t]
    going = [[1, 1, 0], [0, 1, None]]  # two of three go on, then one of these two
    weights, extra = ExpertRouting(alpha=0.5).weights(
        [-row[None, :, None] for row in wish], First(1)
    )
    expected = torch.zeros(3)
    for row, targets in zip(wish, going, strict=False):
        for unit, target in enumerate(targets):
            if target is not None:
                chance = torch.sigmoid(row[unit])
                expected[unit] -= torch.log(chance if target else 1 - chance) / 3
    torch.testing.assert_close(extra, 0.5 * expected[None])
    torch.testing.assert_close(weights.sum(0), torch.ones(1, 3))
    torch.testing.assert_close(weights[0], torch.sigmoid(-wish[:1]))


class Channels(DepthHead):
    """A router whose logits are the channels."""

    def forward(self, z: Tensor) -> Tensor:
        return z


def test_a_router_weighs_the_loops_and_is_held_to_use_all_of_them() -> None:
    first = torch.tensor([[0.7, 0.3], [0.6, 0.4], [0.1, 0.9], [0.8, 0.2]]).log()[None]
    weights, extra = TokenRouting(0.5).weights([first, torch.randn(1, 4, 2)], Channels(2, 2))
    torch.testing.assert_close(weights[:, 0], first[0].exp().T)
    shares, chances = [3 / 4, 1 / 4], [2.2 / 4, 1.8 / 4]
    balance = 2 * (shares[0] * chances[0] + shares[1] * chances[1])
    torch.testing.assert_close(extra, torch.full((1, 4), 0.5 * balance))
    even = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()[None]
    _, least = TokenRouting(1.0).weights([even, even], Channels(2, 2))
    torch.testing.assert_close(least, torch.ones(1, 2))


@pytest.mark.parametrize(
    ("objective", "head"),
    [
        (Pondered(), ExitHead(4)),
        (ExpertRouting(), ExitHead(4)),
        (TokenRouting(), DepthHead(4, 3)),
    ],
)
def test_heads_learn_from_the_losses_and_the_states_from_the_heads(
    objective: LoopObjective, head: nn.Module
) -> None:
    read = [z.requires_grad_() for z in states(3)]
    weights, extra = objective.weights(read, head)
    losses = torch.tensor([3.0, 1.0, 2.0])[:, None, None]
    assert weights is not None
    assert extra is not None
    torch.testing.assert_close(weights.sum(0), torch.ones(2, 3))
    ((losses * weights).sum(0) + extra).mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
    assert read[0].grad is not None


def test_a_router_of_other_depths_is_refused() -> None:
    with pytest.raises(ValueError, match="among 5 depths needs 5 loops in training, got 3"):
        TokenRouting().weights(states(3), DepthHead(4, 5))


def test_one_kind_of_head_serves_all_objectives_for_gates() -> None:
    head = ExitGate().head(4)
    for objective in (Expected(), Pondered(), GateDistillation(), ExpertRouting()):
        assert objective.trains is type(head)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Expected(-0.1), "objective.beta must be at least 0, got -0.1"),
        (lambda: Pondered(beta=-1), "objective.beta must be at least 0, got -1"),
        (lambda: Pondered(prior=0), r"objective.prior must be in \(0, 1\), got 0"),
        (lambda: Pondered(prior=1), r"objective.prior must be in \(0, 1\), got 1"),
        (lambda: GateDistillation(sharpness=0), "objective.sharpness must be above 0, got 0"),
        (lambda: GateDistillation(least_gain=-1), "objective.least_gain must be at least 0, got"),
        (lambda: ExpertRouting(-1), "objective.alpha must be at least 0, got -1"),
        (lambda: TokenRouting(-1), "objective.balance must be at least 0, got -1"),
    ],
)
def test_impossible_objectives_are_refused_by_name(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()

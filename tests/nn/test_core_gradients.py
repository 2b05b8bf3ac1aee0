"""Gradients through a whole core that contracts, against full backpropagation and differences."""

from functools import cache
from itertools import accumulate, pairwise

import pytest
import torch
from cores import BOUNDED, preset, stir
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from loopverse.depth import (
    Checkpointed,
    Full,
    Implicit,
    LoopGradient,
    LoopPlan,
    OneStep,
    Phantom,
    Truncated,
)
from loopverse.nn import Attend, CoreInput, PositionNoise, RecurrentCore

SETTLED = 60
CONTRACTING = ["parcae", "huginn", "fprm", BOUNDED]


@cache
def contraction(name: str) -> RecurrentCore:
    """A preset in float64 whose loop contracts: its branches, or its injection, are made small."""
    torch.manual_seed(0)
    core = stir(RecurrentCore(preset(name)), 0.05).double()
    with torch.no_grad():
        for key, parameter in core.bodies.named_parameters():
            if key.endswith(("attention.out.weight", "feed_forward.down.weight")):
                parameter.mul_(0.3)
            if key.endswith("injection.linear.weight"):  # of the state, not of the input
                parameter[:, : core.config.width] *= 0.1
    return core


def inputs() -> tuple[CoreInput, Tensor]:
    rng = torch.Generator().manual_seed(0)
    x, readout = torch.randn(2, 2, 5, 16, generator=rng, dtype=torch.float64)
    present = torch.tensor([[False, True, True, True, True], [True] * 5])
    return CoreInput(x.requires_grad_(), Attend(True, present)), readout


def gradient_of(name: str, plan: LoopPlan) -> Tensor:
    """The gradient of a loss for all parameters and the input, as one vector."""
    core, (read, readout) = contraction(name), inputs()
    output = core(read, plan, PositionNoise())
    loss = (output.readouts[-1] * readout).sum()
    found = torch.autograd.grad(loss, [*core.parameters(), read.x])
    return torch.cat([part.flatten() for part in found])


def slope_of(name: str, direction: Tensor, loops: int, size: float = 1e-5) -> float:
    """The same loss, by central differences along a direction of all parameters and the input."""
    core, (read, readout) = contraction(name), inputs()
    leaves = [*core.parameters(), read.x]
    losses = []
    with torch.no_grad():
        kept = [leaf.clone() for leaf in leaves]
        for side in (size, -size):
            parts = direction.split([leaf.numel() for leaf in leaves])
            for leaf, value, part in zip(leaves, kept, parts, strict=True):
                leaf.copy_(value + side * part.view_as(leaf))
            output = core(read, LoopPlan(loops), PositionNoise())
            losses.append(float((output.readouts[-1] * readout).sum()))
        for leaf, value in zip(leaves, kept, strict=True):
            leaf.copy_(value)
    return (losses[0] - losses[1]) / (2 * size)


def error(ours: Tensor, exact: Tensor) -> float:
    return float((ours - exact).norm() / exact.norm())


@pytest.mark.parametrize("name", CONTRACTING)
def test_the_cores_of_this_file_contract(name: str) -> None:
    with torch.no_grad():
        read, _ = inputs()
        core = contraction(name)
        plan = LoopPlan(SETTLED, keep_states=True)
        states = core(read, plan, PositionNoise()).result.states
    assert states is not None
    steps = [float((after - before).norm()) for before, after in pairwise(states)]
    assert steps[0] > 1e-3
    assert steps[-1] < 1e-13
    assert steps[8] < 0.02 * steps[0]


@pytest.mark.parametrize("name", CONTRACTING)
def test_the_full_gradient_of_a_core_equals_finite_differences(name: str) -> None:
    exact = gradient_of(name, LoopPlan(3))
    rng = torch.Generator().manual_seed(1)
    for _ in range(3):
        direction = torch.randn(len(exact), generator=rng, dtype=torch.float64)
        expected = float(exact @ direction)
        assert slope_of(name, direction, 3) == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("segment", [0, 1, 3])
@pytest.mark.parametrize("name", CONTRACTING)
def test_the_checkpointed_gradient_of_a_core_is_the_full_one(name: str, segment: int) -> None:
    exact = gradient_of(name, LoopPlan(7))
    ours = gradient_of(name, LoopPlan(7, gradient=Checkpointed(segment)))
    assert error(ours, exact) < 1e-14


def peak_bytes(plan: LoopPlan) -> int:
    """The most that forward and backward of a core hold at once, as the allocator reports it."""
    torch.manual_seed(0)
    core = RecurrentCore(preset("plain", width=64))
    x = torch.randn(4, 64, 64, requires_grad=True)
    for leaf in (*core.parameters(), x):
        leaf.grad = torch.zeros_like(leaf)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        core(CoreInput(x, Attend()), plan, PositionNoise()).readouts[-1].sum().backward()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(accumulate(changes))


def test_32_checkpointed_loops_need_at_most_1_3_times_the_memory_of_4() -> None:
    few, many = (peak_bytes(LoopPlan(loops, gradient=Checkpointed())) for loops in (4, 32))
    assert many <= 1.3 * few
    assert few < 0.6 * peak_bytes(LoopPlan(4))


@pytest.mark.parametrize(
    "gradient", [Truncated(2), OneStep(), Implicit(max_steps=3), Checkpointed(1)], ids=repr
)
def test_cheap_strategies_need_less_memory_than_the_full_gradient(gradient: LoopGradient) -> None:
    assert peak_bytes(LoopPlan(8, gradient=gradient)) < 0.5 * peak_bytes(LoopPlan(8))


@pytest.mark.parametrize("memory", [0, 5], ids=["picard", "anderson"])
@pytest.mark.parametrize("name", CONTRACTING)
def test_the_implicit_gradient_of_a_settled_core_is_the_full_one(name: str, memory: int) -> None:
    exact = gradient_of(name, LoopPlan(SETTLED))
    implicit = Implicit(tolerance=1e-12, max_steps=200, memory=memory)
    ours = gradient_of(name, LoopPlan(SETTLED, gradient=implicit))
    assert error(ours, exact) < 1e-10
    rng = torch.Generator().manual_seed(2)
    direction = torch.randn(len(exact), generator=rng, dtype=torch.float64)
    slope = slope_of(name, direction, SETTLED)
    assert slope == pytest.approx(float(ours @ direction), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("memory", [0, 5], ids=["picard", "anderson"])
def test_the_implicit_gradient_of_a_core_without_fixed_point_says_so(memory: int) -> None:
    """The plain core adds its input in every loop, and nothing takes it away again."""
    core, (read, readout) = contraction("plain"), inputs()
    plan = LoopPlan(20, gradient=Implicit(tolerance=1e-6, max_steps=20, memory=memory))
    output = core(read, plan, PositionNoise())
    (output.readouts[-1] * readout).sum().backward()
    adjoint = output.result.adjoint
    assert adjoint is not None
    assert adjoint.forward_residual > 0.01
    assert adjoint.solution is not None
    assert not adjoint.solution.converged
    assert all(p.grad is not None and p.grad.isfinite().all() for p in core.parameters())


@pytest.mark.parametrize("name", CONTRACTING)
def test_estimators_of_a_settled_core_come_closer_as_they_look_further(name: str) -> None:
    exact = gradient_of(name, LoopPlan(SETTLED))

    def errors(strategies: list[LoopGradient]) -> list[float]:
        return [error(gradient_of(name, LoopPlan(SETTLED, gradient=s)), exact) for s in strategies]

    truncated = errors([Truncated(k) for k in (1, 2, 4, 8, 16)])
    phantom = errors([Phantom(k) for k in (1, 4, 16, 48)])
    assert truncated == sorted(truncated, reverse=True)
    assert phantom == sorted(phantom, reverse=True)
    assert truncated[-1] < 1e-3
    assert phantom[-1] < 1e-3
    # At the fixed point one step more, from there, is the last step again.
    assert errors([OneStep()])[0] == pytest.approx(truncated[0], rel=1e-6)


@pytest.mark.parametrize("name", CONTRACTING)
@pytest.mark.parametrize(
    "gradient", [Full(), Truncated(2), Checkpointed(), Phantom(2), OneStep()], ids=repr
)
def test_a_depth_per_sequence_sums_the_gradients_of_the_rows_alone(
    name: str, gradient: LoopGradient
) -> None:
    core, (read, readout) = contraction(name), inputs()
    padding = read.attend.padding
    assert padding is not None
    depths = [2, 5]

    def parameter_gradient(rows: slice, depth: int | Tensor) -> Tensor:
        some = CoreInput(read.x[rows], Attend(True, padding[rows]))
        output = core(some, LoopPlan(depth, gradient=gradient), PositionNoise())
        loss = (output.readouts[-1] * readout[rows]).sum()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(core.parameters()))])

    together = parameter_gradient(slice(0, 2), torch.tensor(depths))
    alone = [parameter_gradient(slice(row, row + 1), loops) for row, loops in enumerate(depths)]
    assert error(together, alone[0] + alone[1]) < 1e-12

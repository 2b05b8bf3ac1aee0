"""Gradients through loops, against backpropagation by hand and finite differences, in float64."""

import pytest
import torch
from depth.problem import Gradients, Problem, assert_close, distance
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor

from loopverse.depth import (
    Checkpointed,
    FixedPoint,
    Full,
    Implicit,
    LoopGradient,
    LoopPlan,
    OneStep,
    Phantom,
    Truncated,
    iterate,
)

PICARD = Implicit(tolerance=1e-13, max_steps=300, memory=0)
ANDERSON = Implicit(tolerance=1e-13, max_steps=100, memory=5)


@pytest.mark.parametrize("loops", [1, 4])
def test_the_full_gradient_equals_finite_differences(loops: int) -> None:
    problem = Problem(batch=2)
    ours, _ = problem.solved(LoopPlan(loops))
    assert_close(ours, problem.by_differences(loops), atol=1e-7, rtol=1e-6)
    assert_close(ours, problem.by_hand(0, loops), atol=0, rtol=0)


@examples(25)
@given(loops=st.integers(1, 12), segment=st.integers(0, 13))
def test_the_checkpointed_gradient_is_the_full_one_to_the_bit(loops: int, segment: int) -> None:
    problem = Problem()
    full, _ = problem.solved(LoopPlan(loops))
    ours, _ = problem.solved(LoopPlan(loops, gradient=Checkpointed(segment)))
    assert_close(ours, full, atol=0, rtol=0)


@pytest.mark.parametrize(("segment", "most"), [(1, 2), (2, 3), (0, 3)])
def test_checkpointing_computes_each_loop_again_and_no_more_often_than_promised(
    segment: int, most: int
) -> None:
    problem = Problem()
    step = problem.module.on(problem.e)
    plan = LoopPlan(9, gradient=Checkpointed(segment))
    result = iterate(step, problem.start, plan)
    assert len(step.loops) == 9
    problem.loss(result.z).backward()
    again = step.loops[9:]
    assert set(again) == set(range(9))
    assert all(again.count(i) < most for i in range(9))


@pytest.mark.parametrize("loops", [2, 5, 9])
def test_the_truncated_gradient_is_that_of_the_last_loops(loops: int) -> None:
    problem = Problem()
    ours, _ = problem.solved(LoopPlan(loops, gradient=Truncated(5)))
    assert_close(ours, problem.by_hand(max(0, loops - 5), min(5, loops)), atol=0, rtol=0)


def test_the_error_of_truncation_decays_as_fast_as_the_map_contracts() -> None:
    problem = Problem(bound=0.5)
    full, _ = problem.solved(LoopPlan(30))
    errors = [
        distance(problem.solved(LoopPlan(30, gradient=Truncated(k)))[0], full) for k in range(1, 12)
    ]
    assert all(error <= 2 * 0.5**k for k, error in enumerate(errors, 1))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-3  # there was an error to begin with


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("damping", [0.5, 1.0])
def test_the_phantom_gradient_is_that_of_its_damped_steps(steps: int, damping: float) -> None:
    problem = Problem()
    ours, _ = problem.solved(LoopPlan(4, gradient=Phantom(steps, damping)))
    assert_close(ours, problem.by_hand(4, steps, damping), atol=0, rtol=0)


def test_the_one_step_gradient_is_that_of_one_step() -> None:
    problem = Problem()
    ours, _ = problem.solved(LoopPlan(4, gradient=OneStep()))
    assert_close(ours, problem.by_hand(4, 1), atol=0, rtol=0)


@pytest.mark.parametrize("gradient", [PICARD, ANDERSON], ids=["picard", "anderson"])
def test_the_implicit_gradient_is_the_full_one_at_the_fixed_point(gradient: Implicit) -> None:
    problem = Problem(batch=2)
    ours, result = problem.solved(LoopPlan(60, gradient=gradient))
    assert_close(ours, problem.by_hand(0, 60))
    assert_close(ours, problem.by_differences(60), atol=1e-7, rtol=1e-6)
    assert result.adjoint is not None
    assert result.adjoint.forward_residual < 1e-14
    assert result.adjoint.solution is not None
    assert result.adjoint.solution.converged
    assert result.adjoint.solution.steps <= gradient.max_steps


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5])
@pytest.mark.parametrize("memory", [0, 5])
def test_the_implicit_gradient_is_as_exact_as_its_tolerance(tolerance: float, memory: int) -> None:
    problem = Problem(bound=0.9)
    ours, _ = problem.solved(LoopPlan(400, gradient=Implicit(tolerance, 400, memory)))
    exact = problem.by_hand(0, 400)
    assert 0 < distance(ours, exact) < 20 * tolerance


def test_many_phantom_steps_are_the_implicit_gradient() -> None:
    problem = Problem()
    ours, _ = problem.solved(LoopPlan(60, gradient=Phantom(80, 0.8)))
    exact, _ = problem.solved(LoopPlan(60, gradient=ANDERSON))
    assert_close(ours, exact)


def test_an_implicit_gradient_far_from_the_fixed_point_says_how_far() -> None:
    _, result = Problem(bound=0.9).solved(LoopPlan(1, gradient=ANDERSON))
    assert result.adjoint is not None
    assert result.adjoint.forward_residual > 0.05


@pytest.mark.parametrize("memory", [0, 5])
def test_an_implicit_gradient_of_an_expanding_map_is_finite_and_reported_as_failed(
    memory: int,
) -> None:
    problem = Problem(bound=1.0)
    scale = 4.0 * torch.linalg.qr(problem.module.weight)[0].detach()
    leaf = problem.e

    def step(z, i, active):
        return z @ scale.T + leaf

    result = iterate(
        step, problem.start, LoopPlan(2, gradient=Implicit(max_steps=5, memory=memory))
    )
    assert result.adjoint is not None
    assert result.adjoint.solution is None  # until the backward pass
    (gradient,) = torch.autograd.grad(problem.loss(result.z), [leaf])
    assert result.adjoint.solution is not None
    assert not result.adjoint.solution.converged
    assert result.adjoint.solution.residual > 0.1
    assert gradient.isfinite().all()
    incoming = torch.autograd.grad(problem.loss(result.z), [result.z])[0]
    assert gradient.norm() < 10 * incoming.norm()


ESTIMATORS = [
    Full(),
    Truncated(2),
    Checkpointed(),
    Checkpointed(1),
    Phantom(3),
    OneStep(),
    PICARD,
    ANDERSON,
]


@pytest.mark.parametrize("gradient", ESTIMATORS, ids=repr)
def test_a_depth_per_sequence_gives_each_row_the_gradient_it_has_alone(
    gradient: LoopGradient,
) -> None:
    depths = [3, 1, 6, 3]
    problem = Problem(batch=4)
    ours, _ = problem.solved(LoopPlan(torch.tensor(depths), gradient=gradient))
    rows = []
    for row, loops in enumerate(depths):
        alone = Problem(batch=1)
        alone.e, alone.start, alone.readout = (
            values[row : row + 1].detach() for values in (problem.e, problem.start, problem.readout)
        )
        alone.e.requires_grad_()
        alone.start.requires_grad_()
        rows.append(alone.solved(LoopPlan(loops, gradient=gradient))[0])
    together = {name: torch.cat([row[name] for row in rows]) for name in ("input", "start")}
    assert_close(ours, {**together, "weight": sum(row["weight"] for row in rows)})


@pytest.mark.parametrize("gradient", [Full(), Phantom(3), OneStep(), ANDERSON], ids=repr)
def test_a_gradient_under_an_adaptive_rule_is_never_silently_zero(gradient: LoopGradient) -> None:
    problem = Problem(batch=6)
    ours, result = problem.solved(LoopPlan(40, halting=FixedPoint(1e-3), gradient=gradient))
    assert len(result.depth.unique()) > 1, "rows must have left at different loops"
    assert ours["weight"].any()
    assert ours["input"].any(dim=-1).all()
    exact = problem.by_hand(0, 60)
    if isinstance(gradient, Full):
        assert_close(ours, unit_by_unit(problem, result.depth), atol=1e-12, rtol=1e-9)
    allowed = {Full: 0.01, Phantom: 0.5, OneStep: 0.5, Implicit: 0.01}
    assert distance(ours, exact) < allowed[type(gradient)]


def unit_by_unit(problem: Problem, depth: Tensor) -> Gradients:
    """The full gradient when each unit stops at its depth; the map's positions are independent."""
    step, z = problem.module.on(problem.e), problem.start
    for i in range(int(depth.max())):
        z = torch.where((depth > i)[..., None], step(z, i, None), z)
    return problem.of(problem.loss(z))


@pytest.mark.parametrize("gradient", [Full(), Checkpointed(), Checkpointed(2)], ids=repr)
def test_a_loss_on_every_loop_reaches_every_loop(gradient: LoopGradient) -> None:
    problem = Problem()
    result = iterate(
        problem.module.on(problem.e),
        problem.start,
        LoopPlan(5, gradient=gradient, keep_states=True),
    )
    assert result.states is not None
    ours = problem.of(sum(problem.loss(z) * (i + 1) for i, z in enumerate(result.states)))
    step, z, total = problem.module.on(problem.e), problem.start, torch.zeros(())
    for i in range(5):
        z = step(z, i, None)
        total = total + problem.loss(z) * (i + 1)
    assert_close(ours, problem.of(total), atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("gradient", ESTIMATORS, ids=repr)
def test_no_strategy_changes_what_is_computed_without_gradients(gradient: LoopGradient) -> None:
    problem = Problem()
    with torch.no_grad():
        plain = iterate(problem.module.on(problem.e), problem.start, LoopPlan(4))
        step = problem.module.on(problem.e)
        ours = iterate(step, problem.start, LoopPlan(4, gradient=gradient))
    assert torch.equal(ours.z, plain.z)
    assert len(step.loops) == 4


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Truncated(0), "gradient.loops must be at least 1, got 0"),
        (lambda: Checkpointed(-1), r"gradient.segment must be 0 \(choose\) or more, got -1"),
        (lambda: Phantom(0), "gradient.steps must be at least 1, got 0"),
        (lambda: Phantom(1, 0.0), r"gradient.damping must be in \(0, 1\], got 0.0"),
        (lambda: Implicit(max_steps=0), "gradient.max_steps must be at least 1, got 0"),
        (lambda: Implicit(memory=-1), r"gradient.memory must be 0 \(Picard\) or more, got -1"),
        (lambda: Implicit(damping=2.0), r"gradient.damping must be in \(0, 1\], got 2.0"),
    ],
)
def test_impossible_settings_are_refused_by_name(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()

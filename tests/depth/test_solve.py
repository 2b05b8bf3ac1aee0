"""Solvers find fixed points, and say so when they do not."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor

from loopverse.depth import solve


def linear(
    radius: float, size: int = 12, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """A matrix of the given spectral norm, and a constant."""
    rng = torch.Generator().manual_seed(size)
    matrix = torch.randn(size, size, generator=rng, dtype=torch.float64)
    matrix = radius * matrix / torch.linalg.matrix_norm(matrix, 2)
    return matrix.to(dtype), torch.randn(size, generator=rng, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("memory", [0, 1, 5])
@pytest.mark.parametrize("damping", [1.0, 0.7])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str
)
def test_the_solution_of_a_linear_map_is_that_of_a_direct_solve(
    memory: int, damping: float, dtype: torch.dtype, tolerance: float
) -> None:
    matrix, constant = linear(0.7, dtype=dtype)
    found = solve(
        lambda u: matrix @ u + constant,
        constant,
        tolerance=tolerance,
        max_steps=300,
        memory=memory,
        damping=damping,
    )
    exact = torch.linalg.solve(torch.eye(12, dtype=dtype) - matrix, constant)
    assert found.converged
    assert found.residual < tolerance
    torch.testing.assert_close(found.value, exact, atol=10 * tolerance, rtol=10 * tolerance)


def test_anderson_needs_fewer_steps_than_picard() -> None:
    matrix, constant = linear(0.99, size=40)
    matrix = (matrix + matrix.T) / 2
    matrix = 0.97 * matrix / torch.linalg.matrix_norm(matrix, 2)
    steps = {}
    for memory in (0, 5):
        found = solve(
            lambda u: matrix @ u + constant, constant, tolerance=1e-8, max_steps=2000, memory=memory
        )
        assert found.converged
        steps[memory] = found.steps
    assert steps[5] < steps[0] / 3


def test_anderson_solves_what_picard_cannot() -> None:
    matrix, constant = -2.0 * torch.eye(6).double(), torch.ones(6).double()
    settings = {"tolerance": 1e-10, "max_steps": 40}
    assert not solve(lambda u: matrix @ u + constant, constant, **settings).converged
    found = solve(lambda u: matrix @ u + constant, constant, memory=3, **settings)
    assert found.converged
    torch.testing.assert_close(found.value, constant / 3)


@examples(30)
@given(st.integers(0, 6), st.floats(1.05, 30))
def test_divergence_is_a_value_no_worse_than_the_start(memory: int, radius: float) -> None:
    matrix, constant = linear(radius)
    matrix = radius * torch.linalg.qr(matrix)[0]  # expands in every direction
    found = solve(
        lambda u: matrix @ u + constant, constant, tolerance=1e-9, max_steps=8, memory=memory
    )
    gap = (matrix @ found.value + constant - found.value).norm()
    assert not found.converged
    assert found.steps == 8
    assert found.value.isfinite().all()
    assert gap <= (matrix @ constant).norm() * (1 + 1e-9)


@pytest.mark.parametrize("memory", [0, 5])
@pytest.mark.parametrize(
    "function",
    [
        lambda u: u + 1,  # no fixed point, and all residuals alike
        lambda u: u * torch.nan,
        lambda u: u * torch.inf,
        lambda u: (u * 1e200) ** 2,
    ],
    ids=["shift", "nan", "inf", "overflow"],
)
def test_what_has_no_solution_is_reported_and_raises_nothing(memory: int, function) -> None:
    found = solve(function, torch.ones(4), tolerance=1e-6, max_steps=10, memory=memory)
    assert not found.converged
    assert found.steps <= 10
    assert found.value.isfinite().all()


@pytest.mark.parametrize("memory", [0, 5])
def test_a_start_that_is_the_solution_takes_one_step(memory: int) -> None:
    for start in (torch.zeros(3), torch.ones(3)):
        found = solve(
            lambda u, s=start: s + 0 * u, start, tolerance=1e-6, max_steps=5, memory=memory
        )
        assert (found.converged, found.steps) == (True, 1)


def test_any_shape_is_solved_as_one_vector() -> None:
    found = solve(
        lambda u: 0.5 * u + 1, torch.zeros(2, 3, 4), tolerance=1e-6, max_steps=50, memory=2
    )
    torch.testing.assert_close(found.value, torch.full((2, 3, 4), 2.0))

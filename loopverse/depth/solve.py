"""Solvers for `u = function(u)`: Picard and Anderson, with failure as a value in the result."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass
class Solution:
    """What a solver found.

    Attributes:
        value: the solution; where none was found, the iterate `u` that `function` moved least.
        residual: `||function(u) - u|| / ||function(u)||` there.
        steps: evaluations of `function`.
        converged: whether `residual` fell below the tolerance.
    """

    value: Tensor
    residual: float
    steps: int
    converged: bool


def solve(
    function: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    tolerance: float,
    max_steps: int,
    memory: int = 0,
    damping: float = 1.0,
) -> Solution:
    """Iterate `u <- function(u)` until it settles.

    Args:
        function: maps a tensor to one of the same shape.
        start: first iterate.
        tolerance: relative residual that counts as settled.
        max_steps: evaluations allowed.
        memory: iterates that Anderson acceleration mixes; 0 is Picard iteration.
        damping: weight of the new value against the old one, in (0, 1].

    Source: Walker & Ni 2011, algorithm AA, in the least-squares form over residual differences.
    """
    iterate = start
    iterates: list[Tensor] = []
    residuals: list[Tensor] = []
    best, smallest_gap = Solution(start, math.inf, 0, False), math.inf
    for evaluation in range(1, max_steps + 1):
        image = function(iterate)
        gap = image - iterate
        size = float(gap.norm())
        residual = size / max(float(image.norm()), 1e-30)
        if residual < tolerance:
            return Solution(image, residual, evaluation, True)
        if not math.isfinite(residual):
            return replace(best, steps=evaluation)
        if size < smallest_gap:
            best, smallest_gap = Solution(iterate, residual, evaluation, False), size
        if memory:
            iterates = [*iterates, iterate][-memory - 1 :]
            residuals = [*residuals, gap][-memory - 1 :]
            iterate = _anderson(iterates, residuals, damping)
        else:
            iterate = iterate + damping * gap
    return replace(best, steps=max_steps)


def _anderson(iterates: list[Tensor], residuals: list[Tensor], damping: float) -> Tensor:
    """The next iterate: the combination of past ones whose linearised residual is smallest."""
    iterate, residual = iterates[-1], residuals[-1]
    if len(residuals) == 1:
        return iterate + damping * residual
    residual_steps = torch.stack([(residual - r).flatten() for r in residuals[:-1]], dim=1)
    iterate_steps = torch.stack([(iterate - u).flatten() for u in iterates[:-1]], dim=1)
    weights = _least_squares(residual_steps, residual.flatten())
    correction = (iterate_steps + damping * residual_steps) @ weights
    return iterate + damping * residual - correction.view_as(iterate)


def _least_squares(matrix: Tensor, target: Tensor) -> Tensor:
    """The smallest `w` that minimises `||matrix w - target||`, for few and maybe dependent columns."""
    wide = torch.promote_types(matrix.dtype, torch.float32)
    size = matrix.norm(dim=0, dtype=wide).clamp(min=torch.finfo(wide).tiny)
    columns = matrix.to(wide) / size
    # Few numbers from here on: the CPU in float64 is both the fastest and the safest place.
    gram = (columns.T @ columns).double().cpu()
    projection = (columns.T @ target.to(wide)).double().cpu()
    precision = torch.finfo(wide).eps * len(gram)
    weights = torch.linalg.pinv(gram, hermitian=True, rtol=precision) @ projection
    return (weights.to(size) / size).to(matrix.dtype)

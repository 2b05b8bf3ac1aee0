"""Solvers for `u = function(u)`: Picard and Anderson, with failure as a value in the result."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Solution:
    """What a solver found.

    Attributes:
        value: the last iterate.
        residual: `||function(u) - u|| / ||function(u)||` at the last iterate.
        steps: evaluations of `function`.
        converged: whether `residual` fell below the tolerance; if not, `value` is the best effort.
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
    relative = float("inf")
    for evaluation in range(1, max_steps + 1):
        image = function(iterate)
        gap = image - iterate
        relative = float(gap.norm() / image.norm().clamp(min=1e-30))
        if relative < tolerance:
            return Solution(image, relative, evaluation, True)
        if not torch.isfinite(gap).all():
            return Solution(iterate, float("inf"), evaluation, False)
        if memory:
            iterates = [*iterates, iterate][-memory - 1 :]
            residuals = [*residuals, gap][-memory - 1 :]
            iterate = _anderson(iterates, residuals, damping)
        else:
            iterate = iterate + damping * gap
    return Solution(iterate, relative, max_steps, False)


def _anderson(iterates: list[Tensor], residuals: list[Tensor], damping: float) -> Tensor:
    """The next iterate: the combination of past ones whose linearised residual is smallest."""
    iterate, residual = iterates[-1], residuals[-1]
    if len(residuals) == 1:
        return iterate + damping * residual
    residual_steps = torch.stack([(residual - r).flatten() for r in residuals[:-1]], dim=1).float()
    iterate_steps = torch.stack([(iterate - u).flatten() for u in iterates[:-1]], dim=1)
    gram = residual_steps.T @ residual_steps
    ridge = 1e-10 * gram.diagonal().mean() * torch.eye(len(gram), device=gram.device)
    weights = torch.linalg.solve(gram + ridge, residual_steps.T @ residual.flatten().float())
    weights = weights.to(iterate.dtype)
    correction = (iterate_steps + damping * residual_steps.to(iterate.dtype)) @ weights
    return iterate + damping * residual - correction.view_as(iterate)

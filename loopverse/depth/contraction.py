"""How much a loop brings two states of a row together, or drives them apart: measured, not proven."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

StateMap = Callable[[Tensor], Tensor]
"""One loop as a function of the state alone, `[b t d]` to `[b t d]`; rows do not read each other."""


def largest_gain(
    step: StateMap,
    z: Float[Tensor, "b t d"],
    *,
    iterations: int = 30,
    rng: torch.Generator,
) -> Float[Tensor, " b"]:
    """The largest singular value of the Jacobian of `step` at `z`, for each row.

    Above one, states near `z` can drift apart; below one at `z` says nothing of other states. Found by
    power iteration on `J^T J`, whose estimates rise towards the value and never exceed it: a lower
    bound, at a state that somebody chose, and no proof of anything.

    `J^T u` is a vector-Jacobian product. As it is linear in `u`, its own derivative there is `J v`: two
    backward passes, so that `step` needs no forward-mode derivatives. Fused attention lacks the second
    one, so that within `step` attention runs unfused, and what is compiled runs uncompiled.

    Args:
        step: one loop, for a fixed input.
        z: where to measure.
        iterations: rounds of two products. Twice as many halve the error, or better.
        rng: where the first direction comes from, on the CPU.

    Raises:
        ValueError: fewer than one iteration, or a step to another shape.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    direction = torch.randn(z.shape, generator=rng, dtype=torch.float64).to(z)
    with (
        torch.enable_grad(),
        sdpa_kernel(SDPBackend.MATH),
        torch.compiler.set_stance("force_eager"),
    ):
        at = z.detach().requires_grad_()
        image = step(at)
        if image.shape != z.shape:
            raise ValueError(f"step must keep the shape {list(z.shape)}, got {list(image.shape)}")
        if not image.requires_grad:  # a constant
            return z.new_zeros(len(z))
        probe = torch.zeros_like(image, requires_grad=True)
        (pulled,) = torch.autograd.grad(image, at, probe, create_graph=True)
        gain = z.new_zeros(len(z))
        for _ in range(iterations):
            direction = direction / _norms(direction).clamp(min=1e-30)[:, None, None]
            (pushed,) = torch.autograd.grad(pulled, probe, direction, retain_graph=True)
            gain = _norms(pushed)
            (direction,) = torch.autograd.grad(image, at, pushed, retain_graph=True)
    return gain


@torch.no_grad()
def measured_quotient(
    step: StateMap, z: Float[Tensor, "b t d"], other: Float[Tensor, "b t d"]
) -> Float[Tensor, " b"]:
    """`||step(z) - step(other)|| / ||z - other||` for each row: a lower bound of any Lipschitz constant.

    Between the first states of two loops it is how much one application brings them together, however
    far they are from each other; where they are equal it is zero.
    """
    apart = _norms(z - other)
    return _norms(step(z) - step(other)) / apart.clamp(min=torch.finfo(apart.dtype).tiny)


def _norms(x: Tensor) -> Tensor:
    """Euclidean norms of the rows, `[b]`."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return torch.linalg.vector_norm(x.to(wide).flatten(1), dim=1)

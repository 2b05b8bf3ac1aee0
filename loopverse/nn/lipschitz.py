"""Maps whose Lipschitz constant is known: rescaled matrices, and projections on balls.

A constant is meant in the Euclidean norm over all tokens and channels of a row. A map of each token by
itself has the constant that it has for one token.
"""

import torch
from jaxtyping import Float
from torch import Tensor

SQUARINGS = 5
"""How often `spectral_bound` squares: it then exceeds the norm by a factor of at most `rank^(1/128)`."""
STEEPEST_SILU = 1.1
"""More than the slope of silu is anywhere.

`silu'(x) = s + x s (1 - s)` with `s = sigmoid(x)`, and `silu'(x) + silu'(-x) = 1`. It is steepest where
`x tanh(x/2) = 2`; there `s = 1/2 + 1/x`, so the slope is `1/2 + x/4`. The left side grows with `x` and
exceeds 2 at 2.4: the slope is below `1/2 + 2.4/4 = 1.1`, and above -0.1.
"""


def spectral_bound(weight: Float[Tensor, "m n"]) -> Float[Tensor, ""]:
    """An upper bound of the largest singular value, without iteration vectors: exact at rank one.

    The norm of `G = W W^T` is that of `W`, squared, and squaring a symmetric `G` squares its norm, which
    the Frobenius norm bounds: `||W|| <= ||G^(2^k)||_F^(1/2^(k+1))`, at most `rank^(1/2^(k+2))` too
    large. Where power iteration gives a lower bound, every rounding of this one aside it holds.
    Source: Gram iteration (Delattre et al. 2023, 2305.16173).
    """
    tiny = torch.finfo(weight.dtype).tiny
    gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
    logarithm, power = weight.new_zeros(()), 2
    for _ in range(SQUARINGS):
        size = torch.linalg.vector_norm(gram).clamp(min=tiny)
        logarithm = logarithm + size.log() / power
        gram, power = gram / size, 2 * power
        gram = gram @ gram
    size = torch.linalg.vector_norm(gram).clamp(min=tiny)
    return torch.exp(logarithm + size.log() / power)


def nonexpanding(weight: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """The matrix over a bound of its largest singular value: its direction counts, not its size."""
    largest = weight.detach().abs().amax().clamp(min=1e-6)  # so that no power overflows
    scaled = weight / largest
    return scaled / spectral_bound(scaled).clamp(min=0.5)  # it is at least one, unless all is zero


def hold(x: Float[Tensor, "... d"], radius: float) -> Float[Tensor, "... d"]:
    """The nearest point of the ball: the projection on a convex set, so it brings no two points apart.

    What a norm is to other blocks. `RMSNorm` itself has no constant: near zero it stretches by
    `1/sqrt(eps)`.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    squared = wide.square().sum(dim=-1, keepdim=True)
    return (wide * (radius * torch.rsqrt(squared.clamp(min=radius**2)))).to(x.dtype)


def hold_pairs(
    first: Float[Tensor, "*n"], second: Float[Tensor, "*n"], radius: float
) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """The nearest point of the disc, for pairs of numbers."""
    scale = radius * torch.rsqrt((first.square() + second.square()).clamp(min=radius**2))
    return first * scale, second * scale

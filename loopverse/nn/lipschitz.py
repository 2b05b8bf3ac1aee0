"""Maps whose Lipschitz constant is known: rescaled matrices, and the projection on a ball.

A constant is meant in the Euclidean norm over all tokens and channels of a row. A map of each token by
itself has the constant that it has for one token.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

SQUARINGS = 5
"""How often `spectral_bounds` squares: a bound is then too large by a factor of at most `n^(1/128)`."""


def nonexpanding(weights: Sequence[Float[Tensor, "_ _"]]) -> list[Float[Tensor, "_ _"]]:
    """Each matrix over a bound of its largest singular value: its direction counts, not its size.

    So each has the Lipschitz constant one, and nearly uses it. Matrices whose shorter sides are equal are
    done together.
    """
    scaled = [weight / weight.detach().abs().amax().clamp(min=1e-6) for weight in weights]
    wide = [weight if weight.shape[0] <= weight.shape[1] else weight.T for weight in scaled]
    found = list(scaled)
    for size in {len(weight) for weight in wide}:
        places = [i for i, weight in enumerate(wide) if len(weight) == size]
        bounds = spectral_bounds([wide[i] for i in places])
        for i, bound in zip(places, bounds, strict=True):
            found[i] = scaled[i] / bound.clamp(min=0.5)  # it is at least one, unless all is zero
    return found


def spectral_bounds(weights: Sequence[Float[Tensor, "n _"]]) -> list[Float[Tensor, ""]]:
    """An upper bound of the largest singular value of each matrix, all with `n` rows.

    With `G = W W^T` and `q = 2^k`, after `k` squarings: `||W||^2q = ||G^q|| <= ||G^q||_F`, so that

        ||W|| <= s = ||G^q||_F^(1/2q) = tr(G^2q)^(1/4q) <= n^(1/4q) ||W||.

    It holds at every `k`, rounding aside, where power iteration would come from below. The derivative is
    `s G^(2q-1) W / tr(G^2q)`, a product of the powers at hand, `G^(1 + 2 + ... + q)`: half of the cost of
    going back through every squaring.
    Source: Gram iteration (Delattre et al. 2023, 2305.16173).
    """
    recorded = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
    with torch.no_grad():
        gram = torch.stack([weight @ weight.T for weight in weights])
        power, logarithm = _split(gram)
        logarithm = logarithm / 2
        product = power
        for squaring in range(SQUARINGS):
            power, size = _split(power @ power)
            logarithm = logarithm + size / 2 ** (squaring + 2)
            if recorded:
                product = product @ power
        bounds = logarithm.exp()
        if not recorded:
            return list(bounds)
        size = (product * gram).sum(dim=(1, 2)).clamp(min=torch.finfo(gram.dtype).tiny)
        # Doubling W doubles s, so that its product with the derivative is s: that fixes the scale.
        rates = product * (bounds / size)[:, None, None]
        slopes = [rate @ weight for rate, weight in zip(rates, weights, strict=True)]
    return [
        bound + (slope * (weight - weight.detach())).sum()  # the value, and the derivative
        for bound, slope, weight in zip(bounds, slopes, weights, strict=True)
    ]


def hold(x: Float[Tensor, "... d"], radius: float) -> Float[Tensor, "... d"]:
    """The nearest point of the ball: the projection on a convex set, so it brings no two points apart.

    What a norm is to other blocks. `RMSNorm` itself has no useful constant: near zero it stretches by
    `1/sqrt(eps)`.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    squared = wide.square().sum(dim=-1, keepdim=True)
    return (wide * (radius * torch.rsqrt(squared.clamp(min=radius**2)))).to(x.dtype)


def _split(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices of Frobenius norm one, and the logarithms of the norms that they had."""
    size = torch.linalg.vector_norm(matrices, dim=(1, 2)).clamp(
        min=torch.finfo(matrices.dtype).tiny
    )
    return matrices / size[:, None, None], size.log()

"""Rotary position embedding, half-split layout."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rotary_angles(
    positions: Int[Tensor, "b t"], head_width: int, base: float
) -> tuple[Float[Tensor, "b 1 t h"], Float[Tensor, "b 1 t h"]]:
    """Cosine and sine of the angle of each position and channel, in float32.

    Channel `c` and channel `c + head_width/2` turn together by `position * base^(-2c/head_width)`.
    Source: Su et al. 2021 (2104.09864), eq. 34.
    """
    channel = torch.arange(0, head_width, 2, device=positions.device, dtype=torch.float32)
    frequency = base ** (-channel / head_width)
    angle = positions[:, None, :, None].float() * frequency
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(
    x: Float[Tensor, "b n t h"], cos: Float[Tensor, "#b 1 t h"], sin: Float[Tensor, "#b 1 t h"]
) -> Float[Tensor, "b n t h"]:
    """Turn every channel pair of `x` by its angle."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (x * cos + turned * sin).to(x.dtype)

"""How states move from loop to loop: sizes, angles, ranks."""

import torch
from jaxtyping import Float
from torch import Tensor


def step_size(
    before: Float[Tensor, "*units d"], after: Float[Tensor, "*units d"]
) -> Float[Tensor, "*units"]:
    """`||after - before|| / ||after||` of each unit."""
    tiny = torch.finfo(torch.float32).tiny
    return (after - before).float().norm(dim=-1) / after.float().norm(dim=-1).clamp(min=tiny)


def turn(
    move: Float[Tensor, "*units d"], last: Float[Tensor, "*units d"]
) -> Float[Tensor, "*units"]:
    """The cosine between two moves of a unit that follow each other: below zero it swings back."""
    return torch.cosine_similarity(move.float(), last.float(), dim=-1)


def effective_rank(states: Float[Tensor, "n d"]) -> float:
    """`exp(H(s / sum s))`, of the singular values `s` of the states, each at a root mean square of one.

    How many directions the units of a batch spread over: one where all are alike, `min(n, d)` at most.
    Source: Roy and Vetterli 2007, The effective rank, eq. 3.
    """
    wide = states.float()
    rms = wide.square().mean(-1, keepdim=True).sqrt().clamp(min=torch.finfo(torch.float32).tiny)
    values = torch.linalg.svdvals(wide / rms).double()
    total = values.sum()
    if not total.isfinite() or total == 0:
        return float("nan")
    shares = values / total
    return float(torch.special.entr(shares).sum().exp())

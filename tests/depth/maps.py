"""Small maps to iterate: rows and positions apart, so that each can be followed alone."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from loopverse.depth import Active


class Contraction(nn.Module):
    """`z <- bound tanh(z W^T + e)`, `W` of spectral norm one: a contraction, or not."""

    def __init__(self, width: int = 6, bound: float = 0.5, seed: int = 0) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        weight = torch.randn(width, width, generator=rng, dtype=torch.float64)
        self.weight = nn.Parameter(weight / torch.linalg.matrix_norm(weight, 2))
        self.bound = bound

    def on(self, e: Tensor) -> "CountedStep":
        """The step of the loop, for an input `e [b t d]`."""
        return CountedStep(lambda z, e: self.bound * torch.tanh(z @ self.weight.T + e), e)


class CountedStep:
    """A step that counts the row-loops it computes and remembers who was active."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], e: Tensor) -> None:
        self.function, self.e = function, e
        self.num_row_loops = 0
        self.loops: list[int] = []
        self.actives: list[list[int] | None] = []

    def __call__(self, z: Tensor, i: int, active: Active | None) -> Tensor:
        self.num_row_loops += len(z)
        self.loops.append(i)
        self.actives.append(None if active is None else active.rows.tolist())
        return self.function(z, self.e if active is None else self.e[active.rows])


def inputs(batch: int = 3, length: int = 4, width: int = 6, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, width, generator=rng, dtype=torch.float64)

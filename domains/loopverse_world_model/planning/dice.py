"""Chance with an address: what a planner draws for a row follows from (seed, episode, step) alone."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from loopverse_world_model.seeds import seed_of


class Dice:
    """A generator for each of the rows that are planned for at once.

    A row draws the same numbers whatever is beside it, so it plans in a batch as it does alone.

    Args:
        seed: of the planner.
        rows: episode and step of each row.
        device: where the numbers are needed; they are drawn on the CPU and are the same anywhere.
    """

    def __init__(
        self, seed: int, rows: Iterable[tuple[int, int]], device: torch.device | str = "cpu"
    ) -> None:
        self.device = device
        self._generators = [
            torch.Generator().manual_seed(seed_of(seed, "plan", episode, step))
            for episode, step in rows
        ]

    def __len__(self) -> int:
        return len(self._generators)

    def normal(self, *shape: int) -> Float[Tensor, "n *shape"]:
        """Standard normal numbers."""
        drawn = [torch.randn(shape, generator=generator) for generator in self._generators]
        return torch.stack(drawn).to(self.device)

    def uniform(self, *shape: int) -> Float[Tensor, "n *shape"]:
        """Numbers in [0, 1)."""
        drawn = [torch.rand(shape, generator=generator) for generator in self._generators]
        return torch.stack(drawn).to(self.device)


def coloured(white: Float[Tensor, "*batch h a"], colour: float) -> Float[Tensor, "*batch h a"]:
    """Noise whose power falls with frequency as `1 / f^colour`, from white noise over `h` steps.

    Of unit variance at every step, and white again for a colour of 0. It is normal as the white noise
    is: the amplitudes of an orthonormal basis of sines and cosines are scaled. A constant counts as
    the lowest frequency. Source: Timmer & König 1995; for planning, Pinneri et al. 2020 (2008.06389).
    """
    if colour == 0:
        return white
    steps = white.shape[-2]
    time = torch.arange(steps, dtype=torch.float64)
    frequency = torch.arange(steps // 2 + 1, dtype=torch.float64)
    angle = 2 * torch.pi * frequency[:, None] * time / steps
    # The sine of the constant is zero, and so is that of the highest frequency of an even number.
    waves = torch.cat([angle.cos(), angle[1 : (steps + 1) // 2].sin()])
    waves = waves / waves.norm(dim=1, keepdim=True)
    of_waves = torch.cat([frequency, frequency[1 : (steps + 1) // 2]])
    amplitude = of_waves.clamp(min=1) ** (-colour / 2)
    amplitude = amplitude * (steps / amplitude.square().sum()).sqrt()
    mixing = (amplitude[:, None] * waves).to(white)
    return torch.einsum("...fa,fh->...ha", white, mixing)

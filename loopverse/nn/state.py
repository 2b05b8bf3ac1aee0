"""How the state of the loop starts, from an explicit source of noise."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_CHUNK = 64


class Noise:
    """A source of initial noise for a call."""

    def draw(
        self, like: Float[Tensor, "b t d"], positions: Int[Tensor, "b t"], truncated: bool
    ) -> Float[Tensor, "b t d"]:
        """Standard normal values of the shape and device of `like`."""
        raise NotImplementedError


class FreshNoise(Noise):
    """New values for every call, row and position: for training.

    Args:
        rng: the generator that all of it comes from, on the CPU.
    """

    def __init__(self, rng: torch.Generator) -> None:
        self._rng = rng

    def draw(self, like: Tensor, positions: Tensor, truncated: bool) -> Tensor:
        return _normal(like.shape, self._rng, truncated).to(like.device, like.dtype)


class PositionNoise(Noise):
    """The same values for the same position, in any batch, call or order: for use.

    With them a batch gives what each row gives alone, and cached generation what uncached gives.

    Args:
        seed: another seed, other values.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._table: dict[bool, Tensor] = {}

    def draw(self, like: Tensor, positions: Tensor, truncated: bool) -> Tensor:
        needed = int(positions.max()) + 1
        table = self._table.get(truncated)
        if table is None or len(table) < needed or table.shape[1] != like.shape[2]:
            table = self._table[truncated] = self._grown(needed, like.shape[2], truncated)
        return table.to(like.device, like.dtype)[positions.clamp(min=0)]

    def _grown(self, needed: int, width: int, truncated: bool) -> Tensor:
        chunks = []
        for number in range(-(-needed // _CHUNK)):
            rng = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
            chunks.append(_normal((_CHUNK, width), rng, truncated))
        return torch.cat(chunks)


@dataclass
class StateInit:
    """How the state starts. Subclasses are the options of the group `core/init`."""

    def start(
        self, e: Float[Tensor, "b t d"], positions: Int[Tensor, "b t"], noise: Noise
    ) -> Float[Tensor, "b t d"]:
        """The initial state, from what the prelude handed over."""
        raise NotImplementedError


@dataclass
class Zeros(StateInit):
    """All zero."""

    def start(self, e: Tensor, positions: Tensor, noise: Noise) -> Tensor:
        return torch.zeros_like(e)


@dataclass
class Embed(StateInit):
    """The input itself (Ouro, LoopMDM)."""

    def start(self, e: Tensor, positions: Tensor, noise: Noise) -> Tensor:
        return e


@dataclass
class Normal(StateInit):
    """Noise of the given deviation.

    Attributes:
        std: standard deviation; 0: `sqrt(2 / (5 d))` (Huginn, 2502.05171, section 3.2).
        truncated: draw again what lies beyond three deviations.
    """

    std: float = 0.0
    truncated: bool = True

    def __post_init__(self) -> None:
        if self.std < 0:
            raise ValueError(f"core.init.std must not be negative, got {self.std}")

    def start(self, e: Tensor, positions: Tensor, noise: Noise) -> Tensor:
        deviation = self.std or (2 / (5 * e.shape[-1])) ** 0.5
        return deviation * noise.draw(e, positions, self.truncated)


def _normal(shape: torch.Size | tuple[int, ...], rng: torch.Generator, truncated: bool) -> Tensor:
    values = torch.empty(shape)
    if truncated:
        return torch.nn.init.trunc_normal_(values, a=-3.0, b=3.0, generator=rng)
    return values.normal_(generator=rng)

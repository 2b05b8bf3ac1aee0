"""How the input enters every loop, and how a loop's result becomes the next state."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Inject(nn.Module):
    """The trained side of an injection: what the block reads, and what the state becomes.

    The defaults are no injection at all: the block reads the state and its output is the next one.
    """

    def read(self, z: Float[Tensor, "b t d"], e: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """What the first looped layer reads, from the state `z` and the input `e`."""
        return z

    def residual(
        self, h: Float[Tensor, "b t d"], g: Float[Tensor, "b t d"]
    ) -> Float[Tensor, "b t d"]:
        """How a sublayer's branch `g` joins the stream `h` within the loop."""
        return h + g

    def write(
        self, z: Float[Tensor, "b t d"], e: Float[Tensor, "b t d"], h: Float[Tensor, "b t d"]
    ) -> Float[Tensor, "b t d"]:
        """The next state, from what the last looped layer wrote."""
        return h


@dataclass
class Injection:
    """Settings of an injection. Subclasses are the options of the group `core/injection`."""

    reads_input: ClassVar[bool] = True
    """Whether every loop reads the input; if not, it enters through the initial state alone."""

    def build(self, width: int, num_layers: int) -> Inject:
        """The module, for a block of `num_layers` layers of `width` channels."""
        raise NotImplementedError


@dataclass
class NoInjection(Injection):
    """The block reads only its own last output (Ouro, LoopMDM). Start the state with `embed`."""

    reads_input: ClassVar[bool] = False

    def build(self, width: int, num_layers: int) -> Inject:
        return Inject()


@dataclass
class Add(Injection):
    """The block reads `z + e`: the plain, strong baseline."""

    def build(self, width: int, num_layers: int) -> Inject:
        return _Add()


class _Add(Inject):
    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return z + e


@dataclass
class Concat(Injection):
    """The block reads a linear map of `concat[z, e]` (Huginn, 2502.05171, section 3.1)."""

    def build(self, width: int, num_layers: int) -> Inject:
        return _Concat(width)


class _Concat(Inject):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, width, bias=False)

    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return self.linear(torch.cat([z, e.to(z.dtype)], dim=-1))


@dataclass
class Retention(Injection):
    """The block reads `Abar z + Bbar e`, a decay held below one by construction.

    Zero-order hold: `A = -exp(a)`, `Delta = softplus(delta)`, `Abar = exp(Delta A)`, `Bbar = Delta B`,
    all per channel but the matrix `B`, which starts as the identity. None of them decays.
    Source: Parcae (2604.12946, section 3).

    Attributes:
        decay: initial `Abar`, in (0, 1).
    """

    decay: float = math.sqrt(1 / 5)

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"core.injection.decay must be in (0, 1), got {self.decay}")

    def build(self, width: int, num_layers: int) -> Inject:
        return _Retention(width, self.decay)


class _Retention(Inject):
    def __init__(self, width: int, decay: float) -> None:
        super().__init__()
        step = -math.log(decay)  # with a = 0, exp(-step) = decay
        self.a = _undecayed(torch.zeros(width))
        self.delta = _undecayed(torch.full((width,), math.log(math.expm1(step))))
        self.b = _undecayed(torch.eye(width))

    def retain(self, z: Tensor, e: Tensor) -> Tensor:
        """`Abar z + Bbar e`."""
        step = F.softplus(self.delta)
        keep = torch.exp(-step * torch.exp(self.a))
        return (keep * z + step * F.linear(e, self.b)).to(z.dtype)

    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return self.retain(z, e)


@dataclass
class RetentionResidual(Retention):
    """The next state is `Abar z + Bbar e + R(z, e)`, `R` the branches of a block that reads `z + e`.

    The linear part is bounded by construction; `R` is not. Source: LoopWM (2606.18208, eq. 4). How
    the block reads `z` and `e` is not disclosed; the sum is our choice.
    """

    def build(self, width: int, num_layers: int) -> Inject:
        return _RetentionResidual(width, self.decay)


class _RetentionResidual(_Retention):
    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return z + e

    def write(self, z: Tensor, e: Tensor, h: Tensor) -> Tensor:
        return self.retain(z, e) + (h - (z + e))


@dataclass
class Scaled(Injection):
    """Scaled residuals and injection, a block that settles.

    `h_0 = a2 z + b2 e`, sublayers `h <- a1 h + b1 g`, with `b2 = 1 - a2 a1^(2L)` and
    `b1 = b2 (1 - a1) / (1 - a1^(2L))` for `L` layers. Source: FPRM (2606.18206, section 3).

    Attributes:
        stream: initial `a1`, per channel, in (0, 1).
        state: initial `a2`, per channel, in (0, 1).
    """

    stream: float = 0.75
    state: float = 0.25

    def __post_init__(self) -> None:
        for name, value in (("stream", self.stream), ("state", self.state)):
            if not 0 < value < 1:
                raise ValueError(f"core.injection.{name} must be in (0, 1), got {value}")

    def build(self, width: int, num_layers: int) -> Inject:
        return _Scaled(width, num_layers, self.stream, self.state)


class _Scaled(Inject):
    def __init__(self, width: int, num_layers: int, stream: float, state: float) -> None:
        super().__init__()
        self.stream = _undecayed(torch.full((width,), math.log(stream / (1 - stream))))
        self.state = _undecayed(torch.full((width,), math.log(state / (1 - state))))
        self.num_sublayers = 2 * num_layers

    def _gains(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a1, a2 = torch.sigmoid(self.stream), torch.sigmoid(self.state)
        through = a1**self.num_sublayers
        b2 = 1 - a2 * through
        b1 = b2 * (1 - a1) / (1 - through)
        return a1, a2, b1, b2

    def read(self, z: Tensor, e: Tensor) -> Tensor:
        _, a2, _, b2 = self._gains()
        return (a2 * z + b2 * e).to(z.dtype)

    def residual(self, h: Tensor, g: Tensor) -> Tensor:
        a1, _, b1, _ = self._gains()
        return (a1 * h + b1 * g).to(h.dtype)


def _undecayed(value: Tensor) -> nn.Parameter:
    """A parameter that weight decay leaves alone."""
    parameter = nn.Parameter(value)
    parameter.no_weight_decay = True  # type: ignore[attr-defined] - the mark that optimisers read
    return parameter

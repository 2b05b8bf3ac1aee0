"""How the input enters every loop, and how a loop's result becomes the next state."""

import math
from collections.abc import Callable
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

    def certified_gain(self, layers: float) -> float | None:
        """A proven Lipschitz constant of the loop, given that of its layers; None: nothing proven."""
        return None


@dataclass
class Injection:
    """Settings of an injection. Subclasses are the options of the group `core/injection`."""

    reads_input: ClassVar[bool] = True
    """Whether every loop reads the input; if not, it enters through the initial state alone."""

    @property
    def certified_tokens(self) -> int | None:
        """Tokens of a row for which the loop is certified to contract; None: no certificate.

        With a number, the core builds its looped layers in their Lipschitz form.
        """
        return None

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

    def decay(self, step: Tensor) -> Tensor:
        """`Abar`, for the step `Delta`."""
        return torch.exp(-step * torch.exp(self.a))

    def retain(self, z: Tensor, e: Tensor) -> Tensor:
        """`Abar z + Bbar e`."""
        step = F.softplus(self.delta)
        return (self.decay(step) * z + step * F.linear(e, self.b)).to(z.dtype)

    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return self.retain(z, e)


@dataclass
class RetentionResidual(Retention):
    """The next state is `Abar z + Bbar e + R(z, e)`, `R` the branches of a block that reads `z + e`.

    Source: LoopWM (2606.18208, eq. 4). How the block reads `z` and `e` is not disclosed; the sum is
    our choice. The paper bounds the linear part alone; how much is bounded here is `bound`:

    - "none": `Abar` and `Bbar` are free parameters, with the same start.
    - "linear": `Abar` is below one by construction, `R` is not bounded. The paper's.
    - "full": the whole map is a contraction by construction: see `certified_gain` of the core.

    Attributes:
        bound: "none", "linear" or "full".
        tokens: with bound "full", the most tokens that a row may have. Attention is divided by its
            constant, which grows as the square root of it.
    """

    bound: str = "linear"
    tokens: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bound not in _BOUNDS:
            raise ValueError(
                f'core.injection.bound must be one of {", ".join(_BOUNDS)}, got "{self.bound}"'
            )
        if self.tokens < 1:
            raise ValueError(f"core.injection.tokens must be at least 1, got {self.tokens}")
        if self.bound == "full" and self.decay >= HIGHEST_DECAY:
            raise ValueError(
                f"core.injection.decay must be below {HIGHEST_DECAY} with core.injection.bound=full, "
                f"which no channel may exceed, got {self.decay}"
            )

    @property
    def certified_tokens(self) -> int | None:
        return self.tokens if self.bound == "full" else None

    def build(self, width: int, num_layers: int) -> Inject:
        return _BOUNDS[self.bound](width, self.decay)


class _RetentionResidual(_Retention):
    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return z + e

    def write(self, z: Tensor, e: Tensor, h: Tensor) -> Tensor:
        return self.retain(z, e) + (h - (z + e))


class _FreeResidual(_RetentionResidual):
    """`Abar` and `Bbar` as they are, where zero-order hold would start them."""

    def __init__(self, width: int, decay: float) -> None:
        Inject.__init__(self)
        self.keep = _undecayed(torch.full((width,), decay))
        self.b = _undecayed(-math.log(decay) * torch.eye(width))

    def retain(self, z: Tensor, e: Tensor) -> Tensor:
        return (self.keep * z + F.linear(e, self.b)).to(z.dtype)


HIGHEST_DECAY = 0.999
"""No channel of a certified loop keeps more than this."""
SHARE = 0.95
"""How much of what the decay leaves the branches of a certified loop may use."""


class _CertifiedResidual(_Retention):
    """`f(z, e) = Abar z + Bbar e + gamma D^(1/2) S(D^(1/2) z + e)`, with `D = I - Abar`.

    `S`, the branches of the looped layers, has the Lipschitz constant `s`, at most one; `gamma` is
    `SHARE`, and `Abar` is `HIGHEST_DECAY` times that of zero-order hold. For two states that differ by
    `x`, let `y` be how much `S` differs, so that `||y|| <= s ||D^(1/2) x||`. For any unit vector `u`

        u (Abar x + gamma D^(1/2) y) <= sum_i abar_i |u_i x_i| + gamma s ||D^(1/2) u|| ||D^(1/2) x||
                                     <= ||M^(1/2) u|| ||M^(1/2) x|| <= max_i m_i ||x||

    by Cauchy-Schwarz, twice, with `M = Abar + gamma s D`. So the loop has the Lipschitz constant
    `max_i (abar_i + gamma s (1 - abar_i))`, which is below one since `abar_i` and `gamma s` are.
    """

    def __init__(self, width: int, decay: float) -> None:
        super().__init__(width, decay / HIGHEST_DECAY)

    def decay(self, step: Tensor) -> Tensor:
        return HIGHEST_DECAY * super().decay(step)

    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return (self._room().sqrt() * z + e).to(z.dtype)

    def write(self, z: Tensor, e: Tensor, h: Tensor) -> Tensor:
        return self.retain(z, e) + (SHARE * self._room().sqrt() * h).to(z.dtype)

    def certified_gain(self, layers: float) -> float:
        with torch.no_grad():
            kept = 1 - self._room().double()
        return float((kept + SHARE * layers * (1 - kept)).max())

    def _room(self) -> Tensor:
        """`D`."""
        return 1 - self.decay(F.softplus(self.delta))


_BOUNDS: dict[str, Callable[[int, float], Inject]] = {
    "none": _FreeResidual,
    "linear": _RetentionResidual,
    "full": _CertifiedResidual,
}


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

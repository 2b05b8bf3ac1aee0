"""The shape of a recurrent core: every setting, with its meaning and its checks."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from loopverse.nn.injection import Injection
from loopverse.nn.state import StateInit

_NORMS = ("pre", "sandwich", "sandwich_sum")
_STATE_NORMS = ("none", "last", "every")


@dataclass
class CoreConfig:
    """Settings of `RecurrentCore`. Published cores are files in `configs/core/`.

    Attributes:
        width: channels `d` of the state.
        num_heads: attention heads; must divide `width`.
        num_kv_heads: key and value heads (grouped queries); 0: as many as `num_heads`.
        mlp_ratio: hidden channels of the feed-forward over `width`, rounded up to a multiple of 32.
        mlp_hidden: hidden channels exactly; 0: by `mlp_ratio`.
        num_prelude: layers before the loop, run once.
        num_loop: layers of the looped block.
        num_coda: layers after the loop, run once.
        loops: the nominal number of loops R: how many copies an untied core owns, and the R of
            `scale_branches`. Schedules take it as their default.
        tied: one block for all loops; false gives every loop its own: the baseline of equal FLOPs.
        norms: "pre" (before each sublayer), "sandwich" (and after it, on the branch), or
            "sandwich_sum" (and after it, on the sum: Huginn).
        state_norm: normalise the state after "every" loop (Ouro), after the "last" one (Huginn), or
            "none".
        prelude_norm: normalise what the prelude hands to the loop (Parcae).
        output_norm: normalise what the coda hands to the prediction.
        scale_branches: multiply the residual branches of the looped layers by 1/R (2606.18524).
        conditioned: layers read a condition `[b d]` through adaptive norms.
        qk_norm: normalise queries and keys.
        qk_bias: a learned bias on queries and keys (Huginn).
        rotary_base: base of the rotary frequencies.
        injection: how the input enters every loop.
        init: how the state starts.
    """

    width: int = 128
    num_heads: int = 4
    num_kv_heads: int = 0
    mlp_ratio: float = 8 / 3
    mlp_hidden: int = 0
    num_prelude: int = 1
    num_loop: int = 2
    num_coda: int = 1
    loops: int = 4
    tied: bool = True
    norms: str = "pre"
    state_norm: str = "none"
    prelude_norm: bool = False
    output_norm: bool = True
    scale_branches: bool = False
    conditioned: bool = False
    qk_norm: bool = False
    qk_bias: bool = False
    rotary_base: float = 10_000.0
    injection: Injection = field(default=MISSING)
    init: StateInit = field(default=MISSING)

    @property
    def kv_heads(self) -> int:
        """Key and value heads."""
        return self.num_kv_heads or self.num_heads

    @property
    def hidden(self) -> int:
        """Hidden channels of the feed-forward."""
        return self.mlp_hidden or -(-int(self.mlp_ratio * self.width) // 32) * 32

    @property
    def num_applied(self) -> int:
        """Layers that a unit passes at the nominal number of loops."""
        return self.num_prelude + self.loops * self.num_loop + self.num_coda

    def check(self) -> None:
        """Refuse settings that no core can have.

        Raises:
            ValueError: naming the setting, what was expected, and what it was.
        """
        for name, least in (("width", 1), ("num_heads", 1), ("num_loop", 1), ("loops", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"core.{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("num_kv_heads", "num_prelude", "num_coda", "mlp_hidden"):
            if getattr(self, name) < 0:
                raise ValueError(f"core.{name} must not be negative, got {getattr(self, name)}")
        if self.width % self.num_heads:
            raise ValueError(
                f"core.num_heads must divide core.width, got {self.num_heads} heads for width "
                f"{self.width}: use {_nearest_divisor(self.width, self.num_heads)} heads"
            )
        if (self.width // self.num_heads) % 2:
            raise ValueError(
                "core.width / core.num_heads must be even for rotary positions, got "
                f"{self.width} / {self.num_heads} = {self.width // self.num_heads}"
            )
        if self.num_heads % self.kv_heads:
            raise ValueError(
                f"core.num_kv_heads must divide core.num_heads ({self.num_heads}), got "
                f"{self.num_kv_heads}"
            )
        if self.norms not in _NORMS:
            raise ValueError(f'core.norms must be one of {", ".join(_NORMS)}, got "{self.norms}"')
        if self.state_norm not in _STATE_NORMS:
            raise ValueError(
                f'core.state_norm must be one of {", ".join(_STATE_NORMS)}, got "{self.state_norm}"'
            )
        if self.injection.certified_tokens is not None:
            self._check_certified()

    def _check_certified(self) -> None:
        """Refuse what has no known Lipschitz constant within a loop that is certified to contract."""
        for name, fits, reason in (
            ("norms", "pre", "no norm but a projection on a ball has a constant"),
            ("conditioned", False, "a condition may scale the branches without limit"),
            ("qk_norm", False, "a norm of queries and keys has no constant near zero"),
            ("qk_bias", False, "a bias may sharpen the attention without limit"),
            ("scale_branches", False, "its branches are scaled by their constants already"),
        ):
            if getattr(self, name) != fits:
                raise ValueError(
                    f"core.injection.bound=full needs core.{name}={str(fits).lower()} ({reason}), got "
                    f"{str(getattr(self, name)).lower()}: set it so, or use core.injection.bound=linear"
                )
        if self.state_norm == "every":
            raise ValueError(
                "core.injection.bound=full cannot normalise the state after every loop (a norm has no "
                "constant near zero): use core.state_norm=last or none, or core.injection.bound=linear"
            )


def _nearest_divisor(width: int, wanted: int) -> int:
    divisors = [n for n in range(1, width + 1) if width % n == 0 and (width // n) % 2 == 0]
    return min(divisors or [1], key=lambda n: abs(n - wanted))

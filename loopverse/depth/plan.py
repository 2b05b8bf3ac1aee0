"""What the one loop is asked to do: how deep, when to stop, how to differentiate."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from loopverse.depth.gradient import AdjointReport, Full, LoopGradient
from loopverse.depth.halting import FixedDepth, Halting
from loopverse.depth.halting.base import KEPT, SHRINKS


@dataclass
class LoopPlan:
    """A depth, a halting rule and a gradient strategy, checked against each other.

    Attributes:
        depth: loops of every unit, or an integer tensor `[b]` with one depth per sequence; the most
            a unit gets when the rule is adaptive.
        halting: when to stop early. A rule that gives no unit more than so many loops makes the depth smaller,
            and one that does nothing else is `FixedDepth` in the plan.
        gradient: how to differentiate; ignored where no gradient is recorded.
        head: the trained part of a learned rule.
        keep_states: keep the state after every loop in the result.

    Raises:
        ValueError: a depth below 1, or a pair of strategies that cannot work together.
    """

    depth: int | Tensor
    halting: Halting = field(default_factory=FixedDepth)
    gradient: LoopGradient = field(default_factory=Full)
    head: nn.Module | None = None
    keep_states: bool = False

    def __post_init__(self) -> None:
        least = int(self.depth.min()) if isinstance(self.depth, Tensor) else self.depth
        if least < 1:
            raise ValueError(f"the number of loops must be at least 1, got {least}")
        if not isinstance(self.depth, Tensor):
            self.halting, self.depth = self.halting.within(self.depth)
        halting = type(self.halting).__name__
        if self.halting.kv not in KEPT:
            raise ValueError(
                f"halting.kv must be one of {', '.join(KEPT)}, got {self.halting.kv!r}"
            )
        if self.halting.shrink not in SHRINKS:
            raise ValueError(
                f"halting.shrink must be one of {', '.join(SHRINKS)}, got {self.halting.shrink!r}"
            )
        if self.halting.learned and self.head is None:
            raise ValueError(
                f"halting {halting} reads a trained head and this model has none: "
                "train it with halting=exit_gate objective=expected, or choose another rule"
            )
        if isinstance(self.depth, Tensor):
            if self.halting.adaptive:
                raise ValueError(
                    f"one depth per sequence and the adaptive rule {halting} both decide the depth: "
                    "give a single largest depth, or use halting=fixed_depth"
                )
            if self.keep_states:
                raise ValueError(
                    "a loss on every loop needs the same depth for all sequences: "
                    "use objective=final, or schedule.per_sequence=false"
                )
        if self.keep_states and self.halting.adaptive:
            raise ValueError(
                f"states of every loop cannot be kept while {halting} ends loops early: "
                "use halting=fixed_depth for this call"
            )
        if torch.is_grad_enabled():
            self.check_gradient()

    def check_gradient(self) -> None:
        """Refuse a gradient strategy that would leave parts of the loop silently without gradient.

        Raises:
            ValueError: which pair, and what to use instead.
        """
        gradient, halting = type(self.gradient).__name__, type(self.halting).__name__
        if self.halting.adaptive and not self.gradient.follows_halting:
            raise ValueError(
                f"gradient {gradient} needs to know the last loop beforehand and {halting} decides "
                "it on the way: use gradient=full, phantom or implicit, or halting=fixed_depth"
            )
        if self.keep_states and not self.gradient.reaches_every_loop:
            raise ValueError(
                f"a loss on every loop has no gradient under gradient {gradient}: "
                "use gradient=full or gradient=checkpointed, or objective=final"
            )

    @property
    def deepest(self) -> int:
        """The largest depth of any sequence."""
        return int(self.depth.max()) if isinstance(self.depth, Tensor) else self.depth


@dataclass
class LoopResult:
    """What came out of the loop.

    Attributes:
        z: final state, `[b t d]`.
        depth: loops that each unit got, `[b t]`.
        converged: where an adaptive rule fired, `[b t]`; false means that the unit ran into the
            largest depth. None when nothing could have fired.
        states: the state after every loop, when the plan asked for it.
        adjoint: what an implicit gradient knows of its own accuracy.
        rows: of which rows these are, `[b]`; None: of all, in order.
    """

    z: Tensor
    depth: Tensor
    converged: Tensor | None = None
    states: list[Tensor] | None = None
    adjoint: AdjointReport | None = None
    rows: Tensor | None = None

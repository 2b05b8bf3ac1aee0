"""Rules that decide when a unit (a token, a transition) has looped enough."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution


@dataclass(eq=False)
class Active:
    """The units that a step computes: whole rows, or units of rows side by side.

    Attributes:
        rows: positions in the batch of the rows at hand, `[n]`, ascending; with `units`, of each of them.
        units: positions in their rows of the units at hand, `[N]`, whose state is `[1 N d]`; None: the
            rows are whole, and the state is `[n t d]`.
        halted: units of whole rows that have halted: what is computed of them does not count, and
            others read the keys that they left. None: there are none.
        whole: the states of all units of the rows in which there are such units, `[n t d]`, from those
            of the units at hand.
    """

    rows: Tensor
    units: Tensor | None = None
    halted: Tensor | None = None
    whole: Callable[[Tensor], Tensor] | None = None


Read = Callable[[Tensor], Distribution]
"""Turns a state `[n t d]` into the domain's predictive distribution `[n t]`."""
ReadActive = Callable[[Tensor, Active | None], Distribution]
"""The same, told which rows of the batch these are; None means all, in order."""
Memory = dict[str, Tensor]
"""What a rule remembers between loops: tensors whose first axis is the rows still in the loop."""


KEYS = ("copy", "exact", "last", "first")


@dataclass
class Halting:
    """When to stop. Subclasses are group `halting`; they hold settings, never the last batch.

    Attributes:
        kv: what units that go on read of a unit that has halted, and later ones of it in a cache:
            "copy": for every loop that it did not run, the keys and values of its last one. "exact": its
            state is read again in every loop, as in a loop that computes all units: nothing is
            saved for units that halt before the others of their row, and in a cache only what no
            later unit asks for. "last": as "copy", and a cache holds the last loop's alone, for all loops.
            "first": those of the first loop, in all loops, halted or not (Bae et al. 2025,
            2507.10524, section 2.2).
    """

    kv: str = field(default="copy", kw_only=True)
    per_unit: ClassVar[bool] = True
    """Whether a unit stops by itself; otherwise all units of a row stop together."""
    damping: ClassVar[float] = 0.0
    adaptive: ClassVar[bool] = False
    """Whether `update` must be called after every loop. Only adaptive rules wait for the device."""
    learned: ClassVar[bool] = False
    """Whether the rule reads a trained head."""

    @property
    def splits_rows(self) -> bool:
        """Whether units leave the loop while others of their row go on."""
        return self.adaptive and self.per_unit and self.kv != "exact"

    def head(self, width: int) -> nn.Module | None:
        """The rule's trained part, `[b t d] -> logits [b t]`, owned by the model."""
        return None

    def begin(self, z: Tensor) -> Memory:
        """What to remember before the first loop, from the initial state `z [b t d]`."""
        return {}

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        """Look at loop `i` and say which units stop.

        Args:
            memory: what the last call, or `begin`, returned.
            before: state before the loop, `[n t d]` for the `n` rows still in it.
            after: state after the loop, same shape.
            i: index of the loop, from 0.
            read: turns a state into the domain's predictive distribution `[n t]`.
            head: what `head()` built, trained.

        Returns:
            The new memory and a boolean tensor `[n t]`, true where the unit stops now.
        """
        raise NotImplementedError


@dataclass
class FixedDepth(Halting):
    """Never stops early: every unit gets the plan's depth."""


@dataclass
class FixedPoint(Halting):
    """Stops a unit whose state no longer moves: `||z_i - z_{i-1}|| / ||z_i|| < tolerance`.

    Source: FPRM (2606.18206, inf-norm, 0.1); Huginn (2502.05171, 2-norm, 0.03).

    Attributes:
        tolerance: relative change below which a unit has settled.
        norm: "l2" or "inf", over the channels of a unit.
        min_loops: loops every unit gets.
        per: "unit", or "sequence": the mean change of its units stops a whole sequence (LoopMDM).
    """

    tolerance: float = 0.03
    norm: str = "l2"
    min_loops: int = 1
    per: str = "unit"
    adaptive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.tolerance <= 0:
            raise ValueError(f"halting.tolerance must be above 0, got {self.tolerance}")
        if self.norm not in ("l2", "inf"):
            raise ValueError(f'halting.norm must be "l2" or "inf", got "{self.norm}"')
        if self.min_loops < 1:
            raise ValueError(f"halting.min_loops must be at least 1, got {self.min_loops}")
        if self.per not in ("unit", "sequence"):
            raise ValueError(f'halting.per must be "unit" or "sequence", got "{self.per}"')

    @property
    def per_unit(self) -> bool:
        return self.per == "unit"

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        order = 2.0 if self.norm == "l2" else float("inf")
        change = torch.linalg.vector_norm((after - before).float(), order, dim=-1)
        size = torch.linalg.vector_norm(after.float(), order, dim=-1)
        relative = change / (size + 1e-8)
        if self.per == "sequence":
            relative = relative.mean(dim=1, keepdim=True).expand_as(relative)
        settled = relative < self.tolerance
        return memory, settled & (i + 1 >= self.min_loops)


class ExitHead(nn.Module):
    """A linear gate on the state: `[b t d] -> logits [b t]` of stopping after this loop."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).squeeze(-1)


@dataclass
class ExitGate(Halting):
    """Stops a unit when its learned exit probability has accumulated to `threshold`.

    `lambda_i = sigmoid(head(z_i))`, `p(i) = lambda_i prod_{j<i} (1 - lambda_j)`; stop when the sum
    of `p` reaches the threshold. Trained by `objective=expected`. Source: Ouro (2510.25741, section 3).

    Attributes:
        threshold: cumulative exit probability, in (0, 1], at which a unit stops.
    """

    threshold: float = 0.5
    adaptive: ClassVar[bool] = True
    learned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"halting.threshold must be in (0, 1], got {self.threshold}")

    def head(self, width: int) -> nn.Module:
        return ExitHead(width)

    def begin(self, z: Tensor) -> Memory:
        return {"going_on": torch.ones(z.shape[:2], device=z.device)}

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        assert head is not None  # LoopPlan refuses a learned rule without its head
        going_on = memory["going_on"] * torch.sigmoid(-head(after).float())
        return {"going_on": going_on}, 1 - going_on >= self.threshold

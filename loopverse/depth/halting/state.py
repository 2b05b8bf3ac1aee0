"""Rules that look at the state alone: it hardly moves, or it moves evenly."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from loopverse.depth.halting.base import Halting, Knob, Memory, Read


@dataclass
class FixedPoint(Halting):
    """Stops a unit whose state no longer moves: `||z_i - z_{i-1}|| / ||z_i|| < tolerance`.

    Source: FPRM (2606.18206, inf-norm, 0.1); Huginn (2502.05171, 2-norm, 0.03).

    Attributes:
        tolerance: relative change below which a unit has settled.
        norm: "l2" or "inf", over the channels of a unit.
        min_loops: loops every unit gets.
        per: "unit", or "sequence": the mean change of its units stops a whole sequence (LoopMDM).
        damping: share of the old state that is kept in every loop, in [0, 1): brings a loop to rest that
            jumps to and fro. The change is that of the damped state, `1 - damping` of the loop's own.
    """

    tolerance: float = 0.03
    norm: str = "l2"
    min_loops: int = 1
    per: str = "unit"
    damping: float = 0.0
    adaptive: ClassVar[bool] = True
    mixes_loops: ClassVar[bool] = True
    knob: ClassVar[Knob | None] = Knob("tolerance")

    def __post_init__(self) -> None:
        if self.tolerance <= 0:
            raise ValueError(f"halting.tolerance must be above 0, got {self.tolerance}")
        if self.norm not in ("l2", "inf"):
            raise ValueError(f'halting.norm must be "l2" or "inf", got "{self.norm}"')
        if self.min_loops < 1:
            raise ValueError(f"halting.min_loops must be at least 1, got {self.min_loops}")
        if self.per not in ("unit", "sequence"):
            raise ValueError(f'halting.per must be "unit" or "sequence", got "{self.per}"')
        if not 0 <= self.damping < 1:
            raise ValueError(f"halting.damping must be in [0, 1), got {self.damping}")

    @property
    def per_unit(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  a setting decides
        """False where the mean over a sequence decides."""
        return self.per == "unit"

    def signal(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        order = 2.0 if self.norm == "l2" else float("inf")
        change = torch.linalg.vector_norm((after - before).float(), order, dim=-1)
        size = torch.linalg.vector_norm(after.float(), order, dim=-1)
        relative = change / (size + 1e-8)
        if self.per == "sequence":
            relative = relative.mean(dim=1, keepdim=True).expand_as(relative)
        return memory, relative

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        memory, relative = self.signal(memory, before, after, i, read, head)
        return memory, (relative < self.tolerance) & (i + 1 >= self.min_loops)


@dataclass
class SecondOrder(Halting):
    """Stops a unit whose step no longer changes: `||d_i - d_{i-1}||` small, `d_i = z_i - z_{i-1}`.

    A unit in steady motion has settled for this rule, and one that jumps to and fro has not. The first
    loop has no earlier step, so that a unit gets at least `patience + 1` loops.

    Source: Pappone et al. 2025 (2509.23314, eq. 5, algorithm 1), who do not divide, with bounds of 1e-5
    to 1e-2, and stop at the second hit in a row. Divided by `||d_i||` it would never fire where steps
    shrink by the same factor in every loop, as they do near a fixed point.

    Attributes:
        tolerance: below this the change of the step is small.
        relative: divide it by the size of the state, `||z_i||`; false: as in the paper.
        patience: small changes in a row that stop a unit.
    """

    tolerance: float = 0.01
    relative: bool = True
    patience: int = 2
    adaptive: ClassVar[bool] = True
    mixes_loops: ClassVar[bool] = True
    knob: ClassVar[Knob | None] = Knob("tolerance")

    def __post_init__(self) -> None:
        if self.tolerance <= 0:
            raise ValueError(f"halting.tolerance must be above 0, got {self.tolerance}")
        if self.patience < 1:
            raise ValueError(f"halting.patience must be at least 1, got {self.patience}")

    def begin(self, z: Tensor) -> Memory:
        units = torch.zeros(z.shape[:2], dtype=torch.long, device=z.device)
        nowhere = torch.full(z.shape, float("inf"), device=z.device)  # no step is close to it
        return {"step": nowhere, "streak": units}

    def signal(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        step = after.float() - before.float()
        change = torch.linalg.vector_norm(step - memory["step"], dim=-1)
        if self.relative:
            change = change / (torch.linalg.vector_norm(after.float(), dim=-1) + 1e-8)
        return {"step": step, "streak": memory["streak"]}, change

    @torch.no_grad()
    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        memory, change = self.signal(memory, before, after, i, read, head)
        streak = torch.where(change < self.tolerance, memory["streak"] + 1, 0)
        return {**memory, "streak": streak}, streak >= self.patience

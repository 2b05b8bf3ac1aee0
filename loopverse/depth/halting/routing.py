"""Rules of Mixture-of-Recursions: a learned router shares the loops out among units."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from loopverse.depth.halting.base import Halting, Memory, Read, is_first
from loopverse.depth.halting.gate import Gated, trained


def capacity(i: int, loops: int) -> float:
    """The share of units that go on after loop `i` of `loops`: even steps down to none."""
    return max(0.0, (loops - 1 - i) / loops)


@dataclass
class ExpertChoice(Gated):
    """After each loop the units go on that a gate wants most; who has stopped does not come back.

    With `per="sequence"` a share `(loops - 1 - i) / loops` of a sequence, rounded up, goes on after loop
    `i`. That looks at later units, and is refused in causal models. With `per="unit"` a unit goes on while
    its gate says so, which `objective=expert_routing` has taught it with that share as the target: no other
    unit is looked at. Padding takes part as all units do.

    Source: Mixture-of-Recursions (2507.10524, section 2.2.1, with the auxiliary loss for inference).
    There the gate also scales what a loop adds; here only its depth is shared out.

    Attributes:
        per: "unit" or "sequence".
        loops: depth over which the share falls to nothing; read with `per="sequence"` only.
    """

    per: str = "unit"
    loops: int = 4

    def __post_init__(self) -> None:
        if self.per not in ("unit", "sequence"):
            raise ValueError(f'halting.per must be "unit" or "sequence", got "{self.per}"')
        if self.loops < 1:
            raise ValueError(f"halting.loops must be at least 1, got {self.loops}")

    @property
    def per_unit(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  a setting decides
        """False where a sequence is shared out."""
        return self.per == "unit"

    @property
    def competes(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  a setting decides
        """True where a sequence is shared out."""
        return self.per == "sequence"

    @property
    def mixes_loops(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  a setting decides
        """False where the share that goes on depends on the loop."""
        return self.per == "unit"

    def begin(self, z: Tensor) -> Memory:
        if self.per == "unit":
            return {}
        return {"going_on": torch.ones(z.shape[:2], dtype=torch.bool, device=z.device)}

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
        logits = self.logits(head, after)
        if self.per == "unit":
            return memory, logits > 0
        assert isinstance(i, int)  # such a rule does not mix loops
        going_on = chosen(-logits, memory["going_on"], i, self.loops)
        return {"going_on": going_on}, ~going_on


def chosen(wish: Tensor, active: Tensor, i: int, loops: int) -> Tensor:
    """Who goes on after loop `i`: those of a row that wish it most, among those still there.

    Args:
        wish: how much a unit wants to go on, `[b t]`.
        active: units that have not stopped, `[b t]`.
        i: index of the loop, from 0.
        loops: depth over which the share falls to nothing.
    """
    count = math.ceil(capacity(i, loops) * wish.shape[1] - 1e-9)
    best = wish.masked_fill(~active, -torch.inf).topk(count, dim=1).indices
    return torch.zeros_like(active).scatter(1, best, True) & active


class DepthHead(nn.Module):
    """A linear choice of a depth: `[b t d] -> logits [b t loops]`, for 1 to `loops` loops."""

    def __init__(self, width: int, loops: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, loops)

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z)


@dataclass
class TokenChoice(Halting):
    """Each unit chooses its depth, once, after the first loop. Trained by `objective=token_routing`.

    Source: Mixture-of-Recursions (2507.10524, section 2.2.1). There the router reads the state before the
    first loop; all units get that loop, so that one loop more is known here.

    Attributes:
        loops: the deepest choice; of a trained model it is the one it was trained with.
    """

    loops: int = 4
    adaptive: ClassVar[bool] = True
    mixes_loops: ClassVar[bool] = True
    learned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.loops < 1:
            raise ValueError(f"halting.loops must be at least 1, got {self.loops}")

    def head(self, width: int) -> nn.Module:
        return DepthHead(width, self.loops)

    def begin(self, z: Tensor) -> Memory:
        return {"depth": torch.zeros(z.shape[:2], dtype=torch.long, device=z.device)}

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
        assert head is not None  # LoopPlan refuses a learned rule without its head
        if is_first(i):
            logits = trained(self, head, DepthHead, "token_choice")(after)
            memory = {"depth": logits.argmax(-1) + 1}
        return memory, i + 1 >= memory["depth"]

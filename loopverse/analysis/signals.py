"""What halting rules look at, heard on held-out data: which thresholds would stop whom."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from loopverse.depth.halting import Halting, Knob, Memory, Read
from loopverse.depth.halting.combined import Combined
from loopverse.depth.halting.naming import name_of
from loopverse.model import LoopedModel
from loopverse.training.evaluation import Way, held_out

LEVELS = (0.05, 0.5, 0.95)
"""Quantiles of a signal that are told."""


@dataclass(eq=False)
class Listener(Halting):
    """Stops nothing and notes what a rule would hold against its knob.

    Attributes:
        rule: one with a knob.
        heard: after each loop, of every call so far, a number per unit.
    """

    rule: Halting
    heard: list[list[Tensor]] = field(default_factory=list)
    adaptive: ClassVar[bool] = True

    @property
    def learned(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  that of the rule
        """Whether the rule reads a trained head."""
        return self.rule.learned

    @property
    def reads(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  that of the rule
        """Whether the rule looks at predictions."""
        return self.rule.reads

    @property
    def damping(self) -> float:
        """That of the rule."""
        return self.rule.damping

    def begin(self, z: Tensor) -> Memory:
        return self.rule.begin(z)

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Bool[Tensor, "n t"]]:
        memory, signal = self.rule.signal(memory, before, after, i, read, head)
        while len(self.heard) <= i:
            self.heard.append([])
        self.heard[i].append(signal.detach().float().flatten().cpu())
        return memory, torch.zeros(signal.shape, dtype=torch.bool, device=signal.device)


@dataclass
class Signals:
    """What a rule holds against its knob, over units, while none of them stops.

    Attributes:
        knob: of the rule.
        loops: signals after each loop but the last, where stopping saves nothing; finite ones.
    """

    knob: Knob
    loops: list[Float[Tensor, " n"]]

    def thresholds(self, count: int) -> list[float]:
        """Settings of the knob at even quantiles of all signals, from the latest stop to the soonest."""
        pooled = torch.cat(self.loops) if self.loops else torch.empty(0)
        if not len(pooled):
            return []
        order = pooled.sort().values
        places = torch.linspace(0, len(order) - 1, count + 1).round().long()[1:]
        values = order[places].unique().tolist()
        return values if self.knob.sooner == "higher" else values[::-1]

    def in_words(self) -> str:
        """The middle 90 % after each loop."""
        parts = []
        for number, values in enumerate(self.loops):
            if len(values):
                low, middle, high = (_quantile(values, level) for level in LEVELS)
                parts.append(f"after loop {number + 1} {middle:.2g} ({low:.2g} to {high:.2g})")
        return ", ".join(parts) if parts else "nothing that can be compared"


@torch.no_grad()
def listen(
    model: LoopedModel,
    rule: Halting,
    loops: int,
    *,
    batch_size: int,
    max_batches: int | None = None,
    only: Callable[[int], bool] | None = None,
    precision: str = "fp32",
) -> Signals:
    """Hear a rule on held-out data; the arguments are those of `held_out`.

    Raises:
        ValueError: a rule without a knob, or one that cannot work with this model.
    """
    if rule.knob is None:
        raise ValueError(
            f"halting {type(rule).__name__} has no threshold to calibrate: use it as it was trained, or "
            "choose a rule with one, such as fixed_point"
        )
    listener = Listener(rule)
    for _ in held_out(
        model,
        [Way(loops, listener)],
        batch_size=batch_size,
        max_batches=max_batches,
        only=only,
        precision=precision,
    ):
        pass
    pooled = [torch.cat(parts) for parts in listener.heard[: loops - 1]]
    return Signals(rule.knob, [values[values.isfinite()] for values in pooled])


def misfire(
    model: LoopedModel,
    rule: Halting,
    loops: int,
    given: Collection[int],
    *,
    batch_size: int,
    max_batches: int | None = None,
    precision: str = "fp32",
) -> str:
    """That a rule stops every unit at once or none at all, and what it looks at; empty where it does neither.

    Args:
        model: on the device to use.
        rule: the rule.
        loops: the most that a unit gets.
        given: numbers of loops that units got under it.
        batch_size: sequences per batch.
        max_batches: batches to hear it on.
        precision: "bf16" or "fp32".
    """
    never, at_once = set(given) == {loops}, set(given) == {1}
    if rule.knob is None or isinstance(rule, Combined) or loops == 1 or not (never or at_once):
        return ""
    setting, name = rule.knob.setting, name_of(rule)
    heard = listen(
        model,
        rule,
        loops,
        batch_size=batch_size,
        max_batches=max_batches,
        precision=precision,
    )
    what = (
        "stops no unit before the last loop" if never else "stops every unit after the first loop"
    )
    return (
        f"halting={name} with halting.{setting}={rule.knob_value:.3g} {what}; what it looks at is, "
        f"middle and 5 to 95 %, {heard.in_words()}: choose halting.{setting} there, or let `loopverse "
        "calibrate` choose"
    )


def _quantile(values: Tensor, level: float) -> float:
    """By sorting: `torch.quantile` refuses more than 16 million numbers."""
    return float(values.sort().values[round(level * (len(values) - 1))])

"""Rules made of rules: any of them, all of them, several times in a row, within bounds."""

from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from loopverse.depth.halting.base import FixedDepth, Halting, Knob, Memory, Read
from loopverse.depth.halting.naming import Named, built, plain


@dataclass
class Combined(Halting):
    """A rule made of others, its parts. Each remembers for itself."""

    def take(self, rules: list[Named]) -> list[dict[str, Any]]:
        """Be made of these rules; returns them as plain settings.

        Raises:
            ValueError: an unknown rule, or rules that cannot go together.
        """
        self._parts = [built(rule) for rule in rules]
        dampings = sorted({part.damping for part in self._parts} - {0.0})
        if len(dampings) > 1:
            raise ValueError(f"rules within a rule must agree on halting.damping, got {dampings}")
        heads = sorted({type(part.head(1)).__name__ for part in self._parts if part.learned})
        if len(heads) > 1:
            raise ValueError(
                f"rules within a rule must read the same trained head, got {' and '.join(heads)}"
            )
        return [plain(part) for part in self._parts]

    # A class says these of itself, a combination says them of its parts.
    @property
    def adaptive(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  as said above
        """Whether one of the parts is."""
        return any(part.adaptive for part in self._parts)

    @property
    def learned(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  as said above
        """Whether one of the parts reads a trained head."""
        return any(part.learned for part in self._parts)

    @property
    def reads(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  as said above
        """Whether one of the parts looks at predictions."""
        return any(part.reads for part in self._parts)

    @property
    def per_unit(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  as said above
        """Whether all parts stop units independently of each other."""
        return all(part.per_unit for part in self._parts)

    @property
    def splits_rows(self) -> bool:
        """Whether a part that may fire lets units leave while others of their row go on."""
        return super().splits_rows and any(part.adaptive and part.per_unit for part in self._parts)

    @property
    def competes(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  as said above
        """Whether units compete in one of the parts."""
        return any(part.competes for part in self._parts)

    @property
    def mixes_loops(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  as said above
        """Whether all parts take units in different loops together."""
        return all(part.mixes_loops or not part.adaptive for part in self._parts)

    @property
    def damping(self) -> float:
        """That of the parts that damp."""
        return max(part.damping for part in self._parts)

    def head(self, width: int) -> nn.Module | None:
        heads = [part.head(width) for part in self._parts if part.learned]
        return heads[0] if heads else None

    def begin(self, z: Tensor) -> Memory:
        memory = {}
        for number, part in enumerate(self._parts):
            memory |= _of(part.begin(z), number)
        return memory

    def ask(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        """What the parts remember and say, `[parts n t]`; the arguments are those of `update`."""
        memories, stops = {}, []
        loop = cast(int, i)  # a tensor only where every part that is asked takes one
        read = None if read is None else _once(read)
        for number, part in enumerate(self._parts):
            own = _own(memory, number)
            own, stop = (
                part.update(own, before, after, loop, read, head)
                if part.adaptive
                else (own, torch.zeros(after.shape[:2], dtype=torch.bool, device=after.device))
            )
            memories |= _of(own, number)
            stops.append(stop)
        return memories, torch.stack(stops)


def _own(memory: Memory, number: int) -> Memory:
    """What the part of this number remembers, of all that is remembered."""
    prefix = f"{number}."
    return {
        name.removeprefix(prefix): value
        for name, value in memory.items()
        if name.startswith(prefix)
    }


def _of(own: Memory, number: int) -> Memory:
    """The reverse."""
    return {f"{number}.{name}": value for name, value in own.items()}


def _once(read: Read) -> Read:
    """The same, asking once for each state: to predict is the costly part of a rule."""
    known: dict[int, Distribution] = {}

    def again(z: Tensor) -> Distribution:
        if id(z) not in known:
            known[id(z)] = read(z)
        return copy(known[id(z)])  # distributions keep what they compute when asked

    return again


@dataclass
class _Several(Combined):
    """Of several rules.

    Attributes:
        rules: names of rules, or `{halting: NAME, ...settings}`.
    """

    rules: list[Named] = field(default_factory=lambda: ["fixed_point", "confidence"])

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError("halting.rules must name at least one rule, got []")
        self.rules = self.take(self.rules)

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        memory, stops = self.ask(memory, before, after, i, read, head)
        return memory, self.joined(stops)

    def joined(self, stops: Tensor) -> Tensor:
        """What is made of what the rules say, `[rules n t] -> [n t]`."""
        raise NotImplementedError


@dataclass
class AnyOf(_Several):
    """Stops a unit when one of its rules does.

    Attributes:
        rules: names of rules, or `{halting: NAME, ...settings}`.
    """

    def joined(self, stops: Tensor) -> Tensor:
        return stops.any(dim=0)


@dataclass
class AllOf(_Several):
    """Stops a unit when all of its rules say so after the same loop.

    Attributes:
        rules: names of rules, or `{halting: NAME, ...settings}`.
    """

    def joined(self, stops: Tensor) -> Tensor:
        return stops.all(dim=0)


@dataclass
class _One(Combined):
    """Of one rule.

    Attributes:
        rule: the name of a rule, or `{halting: NAME, ...settings}`.
    """

    rule: Named = "fixed_point"

    def __post_init__(self) -> None:
        (self.rule,) = self.take([self.rule])

    # The knob of a rule of one rule is that of the one.
    @property
    def knob(self) -> Knob | None:  # pyright: ignore[reportIncompatibleVariableOverride]  as said above
        """That of the part."""
        return self._parts[0].knob

    @property
    def knob_value(self) -> float:
        """That of the part."""
        return self._parts[0].knob_value

    def with_knob(self, value: float) -> Self:
        return replace(self, rule=self._parts[0].with_knob(value))

    def signal(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        own, signal = self._parts[0].signal(
            _own(memory, 0), before, after, cast(int, i), read, head
        )
        return {**memory, **_of(own, 0)}, signal


@dataclass
class Patience(_One):
    """Stops a unit when a rule has said so several times in a row.

    Attributes:
        rule: the name of a rule, or `{halting: NAME, ...settings}`.
        times: how often in a row.
    """

    times: int = 2

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ValueError(f"halting.times must be at least 1, got {self.times}")
        super().__post_init__()

    def begin(self, z: Tensor) -> Memory:
        streak = torch.zeros(z.shape[:2], dtype=torch.long, device=z.device)
        return {**super().begin(z), "streak": streak}

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        kept, (stops,) = self.ask(memory, before, after, i, read, head)
        streak = torch.where(stops, memory["streak"] + 1, 0)
        return {**kept, "streak": streak}, streak >= self.times


@dataclass
class Bounded(_One):
    """A rule that is heard between a least and a largest number of loops.

    Attributes:
        rule: the name of a rule, or `{halting: NAME, ...settings}`.
        min_loops: loops every unit gets.
        max_loops: loops after which every unit stops; null: those of the plan.
    """

    min_loops: int = 1
    max_loops: int | None = None

    def __post_init__(self) -> None:
        if self.min_loops < 1:
            raise ValueError(f"halting.min_loops must be at least 1, got {self.min_loops}")
        if self.max_loops is not None and self.max_loops < self.min_loops:
            raise ValueError(
                f"halting.max_loops must be at least halting.min_loops ({self.min_loops}), "
                f"got {self.max_loops}"
            )
        super().__post_init__()

    @property
    def adaptive(self) -> bool:
        """Whether the rule is, or there is a largest number of loops."""
        return super().adaptive or self.max_loops is not None

    def within(self, depth: int) -> tuple[Halting, int]:
        if self.max_loops is None:
            return self, depth
        rule = self if super().adaptive else FixedDepth(kv=self.kv)
        return rule, min(depth, self.max_loops)

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        memory, (stops,) = self.ask(memory, before, after, i, read, head)
        last = self.max_loops is not None and i + 1 >= self.max_loops
        return memory, (stops | last) & (i + 1 >= self.min_loops)

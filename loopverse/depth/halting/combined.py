"""Rules made of rules: any of them, all of them, several times in a row, within bounds."""

import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from loopverse.depth.halting.base import FixedDepth, Halting, Memory, Read
from loopverse.depth.halting.gate import ExitGate, Ponder
from loopverse.depth.halting.prediction import Confidence, PredictionKL
from loopverse.depth.halting.routing import ExpertChoice, TokenChoice
from loopverse.depth.halting.state import FixedPoint, SecondOrder
from loopverse.errors import UserError, unknown

Named = Any
"""A rule within a rule: the rule itself, its name, or `{halting: NAME, ...settings}`.

A rule that has no name here is `{_target_: MODULE.CLASS, ...settings}`. What is kept is always the plain
mapping, which a settings file can hold.
"""


@dataclass
class Combined(Halting):
    """A rule made of others, its parts. Each remembers for itself."""

    def take(self, rules: list[Named]) -> list[dict[str, Any]]:
        """Be made of these rules; returns them as plain settings.

        Raises:
            ValueError: an unknown rule, or rules that cannot go together.
        """
        self._parts = [_built(rule) for rule in rules]
        dampings = sorted({part.damping for part in self._parts} - {0.0})
        if len(dampings) > 1:
            raise ValueError(f"rules within a rule must agree on halting.damping, got {dampings}")
        heads = sorted({type(part.head(1)).__name__ for part in self._parts if part.learned})
        if len(heads) > 1:
            raise ValueError(
                f"rules within a rule must read the same trained head, got {' and '.join(heads)}"
            )
        return [_plain(part) for part in self._parts]

    # A class says these of itself, a combination says them of its parts.
    @property
    def adaptive(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  see above
        """Whether one of the parts is."""
        return any(part.adaptive for part in self._parts)

    @property
    def learned(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  see above
        """Whether one of the parts reads a trained head."""
        return any(part.learned for part in self._parts)

    @property
    def reads(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  see above
        """Whether one of the parts looks at predictions."""
        return any(part.reads for part in self._parts)

    @property
    def per_unit(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  see above
        """Whether all parts stop units independently of each other."""
        return all(part.per_unit for part in self._parts)

    @property
    def competes(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  see above
        """Whether units compete in one of the parts."""
        return any(part.competes for part in self._parts)

    @property
    def damping(self) -> float:
        """That of the parts that damp."""
        return max(part.damping for part in self._parts)

    def head(self, width: int) -> nn.Module | None:
        heads = [part.head(width) for part in self._parts if part.learned]
        return heads[0] if heads else None

    def begin(self, z: Tensor) -> Memory:
        return {
            f"{number}.{name}": value
            for number, part in enumerate(self._parts)
            for name, value in part.begin(z).items()
        }

    def ask(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        """What the parts remember and say, `[parts n t]`; the arguments are those of `update`."""
        memories, stops = {}, []
        for number, part in enumerate(self._parts):
            own = {
                name.removeprefix(f"{number}."): value
                for name, value in memory.items()
                if name.startswith(f"{number}.")
            }
            own, stop = (
                part.update(own, before, after, i, read, head)
                if part.adaptive
                else (own, torch.zeros(after.shape[:2], dtype=torch.bool, device=after.device))
            )
            memories |= {f"{number}.{name}": value for name, value in own.items()}
            stops.append(stop)
        return memories, torch.stack(stops)


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


@dataclass
class AnyOf(_Several):
    """Stops a unit when one of its rules does.

    Attributes:
        rules: names of rules, or `{halting: NAME, ...settings}`.
    """

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        memory, stops = self.ask(memory, before, after, i, read, head)
        return memory, stops.any(dim=0)


@dataclass
class AllOf(_Several):
    """Stops a unit when all of its rules say so after the same loop.

    Attributes:
        rules: names of rules, or `{halting: NAME, ...settings}`.
    """

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        memory, stops = self.ask(memory, before, after, i, read, head)
        return memory, stops.all(dim=0)


@dataclass
class _One(Combined):
    """Of one rule.

    Attributes:
        rule: the name of a rule, or `{halting: NAME, ...settings}`.
    """

    rule: Named = "fixed_point"

    def __post_init__(self) -> None:
        (self.rule,) = self.take([self.rule])


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
        i: int,
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

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        memory, (stops,) = self.ask(memory, before, after, i, read, head)
        last = self.max_loops is not None and i + 1 >= self.max_loops
        return memory, (stops | last) & (i + 1 >= self.min_loops)


RULES: dict[str, type[Halting]] = {
    "fixed_depth": FixedDepth,
    "fixed_point": FixedPoint,
    "second_order": SecondOrder,
    "prediction_kl": PredictionKL,
    "confidence": Confidence,
    "exit_gate": ExitGate,
    "ponder": Ponder,
    "expert_choice": ExpertChoice,
    "token_choice": TokenChoice,
    "any_of": AnyOf,
    "all_of": AllOf,
    "patience": Patience,
    "bounded": Bounded,
}
"""Every rule by the name it is chosen with."""


def _plain(rule: Halting) -> dict[str, Any]:
    """A rule as a mapping that a settings file can hold, with all of its settings."""
    kind = type(rule)
    for name, option in RULES.items():
        if option is kind:
            return {"halting": name, **asdict(rule)}
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **asdict(rule)}


def _built(rule: Named) -> Halting:
    """The rule that a name or a mapping stands for.

    Raises:
        ValueError: no such rule, or settings that it does not have.
    """
    if isinstance(rule, Halting):
        return rule
    settings = {"halting": rule} if isinstance(rule, str) else rule
    if not isinstance(settings, Mapping) or not settings.keys() & {"halting", "_target_"}:
        raise UserError(
            f"a rule within a rule must be a name or {{halting: NAME, ...settings}}, got {rule}"
        )
    settings = {str(name): value for name, value in settings.items()}
    name = str(settings.pop("halting", ""))
    kind = RULES.get(name) or _imported(settings.pop("_target_", ""))
    if kind is None:
        raise unknown(
            "halting", name, RULES, "a class of your own is written _target_: MODULE.CLASS"
        )
    for setting in settings:
        if setting not in (known := [item.name for item in fields(kind)]):
            raise unknown(f"setting of halting={name or kind.__name__}", setting, known)
    return kind(**settings)


def _imported(path: str) -> type[Halting] | None:
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name) if module else None
    except (ImportError, AttributeError) as error:
        raise UserError(f"cannot import the halting rule {path}: {error}") from error
    if kind is not None and not (isinstance(kind, type) and issubclass(kind, Halting)):
        raise UserError(f"{path} must be a subclass of loopverse.depth.Halting, got {kind!r}")
    return kind

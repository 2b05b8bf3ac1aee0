"""Checks of strategies: ours pass them all, and every check finds the mistake planted for it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from loopverse.depth import (
    Checkpointed,
    Confidence,
    ExitGate,
    FixedDepth,
    FixedPoint,
    Full,
    Halting,
    Implicit,
    Knob,
    LoopGradient,
    OneStep,
    Patience,
    Phantom,
    PredictionKL,
    SecondOrder,
    Truncated,
)
from loopverse.nn import (
    Add,
    Concat,
    NoInjection,
    Retention,
    RetentionResidual,
    Scaled,
)
from loopverse.nn.injection import Inject, Injection
from loopverse.testing import (
    StrategyCheck,
    StrategyError,
    check_gradient,
    check_halting,
    check_injection,
    gradient_checks,
    halting_checks,
    injection_checks,
)
from loopverse.testing.strategies import failures_of

RULES = [
    FixedDepth(),
    FixedPoint(tolerance=0.1),
    FixedPoint(tolerance=0.1, norm="inf", damping=0.2),
    FixedPoint(tolerance=0.1, per="sequence"),
    SecondOrder(tolerance=0.3),
    PredictionKL(tolerance=0.05),
    Confidence(threshold=0.8),
    Confidence(threshold=0.3, measure="entropy"),
    ExitGate(),
    Patience(rule=PredictionKL(tolerance=0.05), times=2),
]
GRADIENTS = [Full(), Truncated(4), Checkpointed(), Phantom(), OneStep(), Implicit()]
INJECTIONS = [NoInjection(), Add(), Concat(), Retention(), RetentionResidual(), Scaled()]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_our_rules_keep_all_that_a_rule_must(rule: Halting) -> None:
    check_halting(rule)


@pytest.mark.parametrize("gradient", GRADIENTS, ids=repr)
def test_our_gradients_keep_all_that_one_must(gradient: LoopGradient) -> None:
    check_gradient(gradient)


@pytest.mark.parametrize("injection", INJECTIONS, ids=repr)
def test_our_injections_keep_all_that_one_must(injection: Injection) -> None:
    check_injection(injection)


@dataclass
class Good(Halting):
    """Stops a unit that stands still; pieces of it are broken below."""

    tolerance: float = 0.1
    adaptive: ClassVar[bool] = True
    knob: ClassVar[Knob | None] = Knob("tolerance")

    def change(self, before: Tensor, after: Tensor) -> Tensor:
        return (after - before).float().norm(dim=-1) / after.float().norm(dim=-1)

    def update(
        self, memory: Any, before: Tensor, after: Tensor, i: int, read: Any, head: Any
    ) -> tuple[Any, Any]:
        return memory, self.change(before, after) < self.tolerance


class NeverAsked(Good):
    adaptive: ClassVar[bool] = False


class Numbers(Good):
    def update(self, memory: Any, before: Tensor, after: Tensor, *rest: Any) -> tuple[Any, Any]:
        return memory, (self.change(before, after) < self.tolerance).float()


class ReadsInSecret(Good):
    def update(
        self, memory: Any, before: Tensor, after: Tensor, i: int, read: Any, head: Any
    ) -> tuple[Any, Any]:
        return memory, read(after).entropy() < self.tolerance


class WritesOnStates(Good):
    def update(self, memory: Any, before: Tensor, after: Tensor, *rest: Any) -> tuple[Any, Any]:
        stops = self.change(before, after) < self.tolerance
        after.mul_(1.0001)
        return memory, stops


class Remembers(Good):
    """Its own settings change as it decides."""

    def update(self, memory: Any, before: Tensor, after: Tensor, *rest: Any) -> tuple[Any, Any]:
        seen = self.__dict__.setdefault("seen", [])
        seen.append(0)
        return memory, self.change(before, after) < self.tolerance + 0.01 * len(seen)


class MeanOfTheBatch(Good):
    per_unit: ClassVar[bool] = False

    def change(self, before: Tensor, after: Tensor) -> Tensor:
        each = super().change(before, after)
        return each.mean().expand_as(each)


class MeanOfTheRow(Good):
    def change(self, before: Tensor, after: Tensor) -> Tensor:
        each = super().change(before, after)
        return each.mean(1, keepdim=True).expand_as(each)


class WrongWayRound(Good):
    knob: ClassVar[Knob | None] = Knob("tolerance", "lower")


class DampsLessAndLess(Good):
    """As if the loop could be slowed down at first only; forgotten with every new batch."""

    loops = 0

    @property
    def damping(self) -> float:
        return 0.5 / (1 + self.loops)

    def begin(self, z: Tensor) -> dict[str, Tensor]:
        self.loops = 0
        return {}

    def update(self, memory: Any, before: Tensor, after: Tensor, *rest: Any) -> tuple[Any, Any]:
        self.loops += 1
        return memory, self.change(before, after) < self.tolerance


class OnlyFloat32(Good):
    def change(self, before: Tensor, after: Tensor) -> Tensor:
        return torch.linalg.eigvalsh((after - before)[..., None] @ after[..., None, :]).sum(-1)


BROKEN_RULES = {
    "it_says_that_it_decides": (NeverAsked(), "adaptive"),
    "decisions_are_booleans_of_the_units": (Numbers(), "torch.float32"),
    "it_needs_what_it_says": (ReadsInSecret(), "set `reads"),
    "it_writes_on_nothing": (WritesOnStates(tolerance=0.2), "written to"),
    "it_decides_the_same_every_time": (Remembers(tolerance=0.01), "belongs into the memory"),
    "a_row_alone_is_decided_as_in_a_batch": (MeanOfTheBatch(), "no mean over rows"),
    "a_unit_alone_is_decided_as_in_its_row": (MeanOfTheRow(), "per_unit"),
    "a_unit_that_stopped_never_changes_again": (DampsLessAndLess(), "the same in all loops"),
    "the_knob_turns_the_way_it_says": (WrongWayRound(), "turn `sooner` round"),
    "half_precision_is_read_too": (OnlyFloat32(), "no error"),
}


class LeavesOut(Full):
    def segments(self, depth: int) -> list[range]:
        return [range(1, depth)] if depth > 1 else [range(depth)]


class Halves(Full):
    def attach(self, step: Any, z: Tensor) -> tuple[Tensor, None]:
        return z * 1.01, None


class Nothing(Full):
    def attach(self, step: Any, z: Tensor) -> tuple[Tensor, None]:
        return z.detach() + 0 * z, None


class Uphill(Full):
    def attach(self, step: Any, z: Tensor) -> tuple[Tensor, None]:
        return 2 * z.detach() - z, None


class Holds(Full):
    def attach(self, step: Any, z: Tensor) -> tuple[Tensor, None]:
        calls = self.__dict__.setdefault("calls", [])
        calls.append(0)
        return z.detach() + (z - z.detach()) * len(calls), None


class SaysTooMuch(Truncated):
    reaches_every_loop: ClassVar[bool] = True


class StopsBadly(Truncated):
    """Records the last of all loops, which is not the last one that was run."""

    follows_halting: ClassVar[bool] = True


BROKEN_GRADIENTS = {
    "segments_are_all_loops_in_order": (LeavesOut(), "leave nothing out"),
    "the_state_is_that_of_the_plain_loop": (Halves(), "a state at most 0 away"),
    "every_weight_gets_a_gradient": (Nothing(), "record at least one"),
    "it_leads_downhill": (Uphill(), "look for a sign"),
    "the_same_gradient_every_time": (Holds(), "never tensors"),
    "early_losses_are_reached_if_it_says_so": (SaysTooMuch(4), "reaches_every_loop"),
    "it_bears_rules_to_stop_early_if_it_says_so": (StopsBadly(2), "follows_halting"),
}


@dataclass
class Planted(Injection):
    """An injection of a module that is made anew each time."""

    kind: type[Inject] = Inject

    def build(self, width: int, num_layers: int) -> Inject:
        return self.kind()


class Sum(Inject):
    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return z + e

    def residual(self, h: Tensor, g: Tensor) -> Tensor:
        return (h + g) / 2


class Wider(Sum):
    def residual(self, h: Tensor, g: Tensor) -> Tensor:
        return super().residual(h.float(), g.float())


class Noisy(Sum):
    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return z + e + 0.1 * torch.randn_like(e)


class Mean(Sum):
    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return z + e.mean(1, keepdim=True)


class Deaf(Sum):
    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return z


class Forgetful(Sum):
    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return e


class Unused(Sum):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))


class Growing(Sum):
    def write(self, z: Tensor, e: Tensor, h: Tensor) -> Tensor:
        return 8 * h


class Branches(Sum):
    def read(self, z: Tensor, e: Tensor) -> Tensor:
        return z + e if float(e.sum()) < 1e9 else z


BROKEN_INJECTIONS = {
    "it_keeps_the_shape_and_the_type": (Planted(Wider), "torch.bfloat16"),
    "it_draws_nothing": (Planted(Noisy), "random numbers"),
    "units_do_not_read_each_other": (Planted(Mean), "no mean over units"),
    "it_reads_the_input_if_it_says_so": (Planted(Deaf), "reads_input"),
    "the_state_is_not_forgotten": (Planted(Forgetful), "read z too"),
    "every_parameter_learns": (Planted(Unused), "gradient of gain"),
    "the_state_stays_finite": (Planted(Growing), "below 1000"),
    "it_compiles": (Planted(Branches), "no error"),
}
PLANTED = [
    *((halting_checks(), name, *broken) for name, broken in BROKEN_RULES.items()),
    *((gradient_checks(), name, *broken) for name, broken in BROKEN_GRADIENTS.items()),
    *((injection_checks(), name, *broken) for name, broken in BROKEN_INJECTIONS.items()),
]


def failing(checks: list[StrategyCheck], strategy: Any) -> dict[str, str]:
    return {failure.check: str(failure) for failure in failures_of(checks, strategy)}


@pytest.mark.parametrize(
    ("checks", "name", "strategy", "words"),
    PLANTED,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_planted_mistake_is_found_by_its_check_in_words_that_help(
    checks: list[StrategyCheck], name: str, strategy: Any, words: str
) -> None:
    found = failing(checks, strategy)
    assert name in found
    assert words in found[name]
    assert list(found) == [name], "no other check should find it"


def test_every_check_has_a_planted_mistake_and_is_a_sentence() -> None:
    every = [*halting_checks(), *gradient_checks(), *injection_checks()]
    planted = {*BROKEN_RULES, *BROKEN_GRADIENTS, *BROKEN_INJECTIONS}
    assert {check.name for check in every} == planted
    assert all(check.sentence.endswith(".") for check in every)


def test_what_is_wrong_is_said_all_at_once() -> None:
    with pytest.raises(StrategyError, match="MeanOfTheRow: 1 of 10 checks failed"):
        check_halting(MeanOfTheRow())
    check_halting(Good())
    check_injection(Planted(Sum))

"""Rules made of rules, and what holds for every rule: units do not look at each other."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor

from loopverse.depth import (
    RULES,
    AllOf,
    AnyOf,
    Bounded,
    Confidence,
    ExitGate,
    ExitHead,
    ExpertChoice,
    FixedDepth,
    FixedPoint,
    Halting,
    LoopPlan,
    Patience,
    PredictionKL,
    SecondOrder,
    TokenChoice,
)
from loopverse.text import TokenDistribution


@dataclass
class Told(Halting):
    """Stops a unit where a channel of its state is positive."""

    channel: int = 0
    adaptive: ClassVar[bool] = True

    def update(self, memory, before, after, i, read, head):
        return memory, after[..., self.channel] > 0


def told(rule: Halting, *channels: list[int]) -> list[bool]:
    """What one unit is told after each loop, for the channels of its state over the loops."""
    states = torch.tensor(channels, dtype=torch.float32).T[:, None, None]
    memory, found = rule.begin(states[0]), []
    for i, z in enumerate(states):
        memory, stops = rule.update(memory, z, z, i, None, None)
        found.append(bool(stops))
    return found


ONE, OTHER = Told(0), Told(1)


def test_any_and_all_hear_the_rules_of_the_same_loop() -> None:
    channels = [1, 0, 0, 1], [0, 1, 0, 1]
    assert told(AnyOf([ONE, OTHER]), *channels) == [True, True, False, True]
    assert told(AllOf([ONE, OTHER]), *channels) == [False, False, False, True]


def test_patience_waits_for_a_row_without_a_gap() -> None:
    assert told(Patience(ONE, 2), [1, 0, 1, 1, 1]) == [False, False, False, True, True]
    assert told(Patience(ONE, 3), [1, 0, 1, 1, 1]) == [False, False, False, False, True]


def test_bounds_hold_whatever_the_rule_says() -> None:
    assert told(Bounded(ONE, min_loops=3), [1, 1, 1, 1]) == [False, False, True, True]
    assert told(Bounded(ONE, max_loops=2), [0, 0, 0, 1]) == [False, True, True, True]
    assert told(Bounded("fixed_depth", max_loops=2), [0, 0, 0]) == [False, True, True]


def test_a_depth_that_is_fixed_stops_no_unit() -> None:
    assert told(AnyOf(["fixed_depth", ONE]), [1, 0]) == [True, False]
    assert told(AllOf(["fixed_depth", ONE]), [1, 0]) == [False, False]


def test_parts_of_parts_remember_for_themselves() -> None:
    rule = AllOf([Patience(ONE, 2), Patience(OTHER, 3)])
    assert told(rule, [0, 1, 1, 1, 1], [1, 1, 1, 0, 1]) == [False, False, True, False, False]
    assert rule.begin(torch.zeros(2, 3, 4)).keys() == {"0.streak", "1.streak"}


def test_rules_that_predict_share_one_reading_of_a_loop() -> None:
    count = 0

    def read(z: Tensor) -> TokenDistribution:
        nonlocal count
        count += 1
        return TokenDistribution(z)

    rule = AnyOf([Confidence(0.9), Patience(PredictionKL(1e-9)), Confidence(0.0, "entropy")])
    path = torch.randn(5, 2, 3, 4)
    memory = rule.begin(path[0])
    for i, (before, after) in enumerate(pairwise(path)):
        memory, _ = rule.update(memory, before, after, i, read, None)
    assert count == 4
    assert memory.keys() == {"1.streak", "1.0.raw"}


def test_a_combination_is_what_its_parts_are() -> None:
    plain = AnyOf([FixedPoint(damping=0.3), "second_order"])
    assert (plain.adaptive, plain.learned, plain.reads, plain.per_unit) == (
        True,
        False,
        False,
        True,
    )
    assert plain.damping == 0.3
    assert plain.head(8) is None
    rich = AllOf([Patience(ExitGate()), Confidence(), FixedPoint(per="sequence")])
    assert (rich.adaptive, rich.learned, rich.reads, rich.per_unit) == (True, True, True, False)
    assert isinstance(rich.head(8), ExitHead)
    assert not Bounded(FixedDepth()).adaptive
    assert Bounded(FixedDepth(), max_loops=2).adaptive


def test_a_largest_number_of_loops_costs_no_more_than_a_fixed_depth() -> None:
    rule = Bounded(FixedPoint(), max_loops=2)
    plan = LoopPlan(8, halting=rule)
    assert (plan.deepest, plan.halting) == (2, rule)
    assert LoopPlan(1, halting=rule).deepest == 1
    plan = LoopPlan(8, halting=Bounded("fixed_depth", max_loops=2))
    assert plan.deepest == 2
    assert type(plan.halting) is FixedDepth
    assert LoopPlan(8, halting=Bounded(FixedPoint(), min_loops=2)).deepest == 8
    assert Bounded(ExpertChoice(per="sequence")).competes


def test_what_a_combination_keeps_is_plain_and_builds_it_again() -> None:
    rule = AnyOf([Patience(FixedPoint(0.5), 3), ONE, {"halting": "confidence", "threshold": 0.4}])
    common = {"kv": "copy", "shrink": "always", "late": False}
    inner = {
        "halting": "fixed_point",
        **common,
        "tolerance": 0.5,
        "norm": "l2",
        "min_loops": 1,
        "per": "unit",
        "damping": 0.0,
    }
    assert rule.rules == [
        {"halting": "patience", **common, "rule": inner, "times": 3},
        {"_target_": f"{Told.__module__}.Told", **common, "channel": 0},
        {"halting": "confidence", **common, "threshold": 0.4, "measure": "margin"},
    ]
    assert AnyOf(rule.rules) == rule


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AnyOf([]), r"halting.rules must name at least one rule, got \[\]"),
        (lambda: AnyOf(["confidense"]), "'confidense'; did you mean 'confidence'. known: all_of"),
        (lambda: AllOf([3]), "must be a name or {halting: NAME, ...settings}, got 3"),
        (lambda: Patience({"times": 3}), "must be a name or {halting: NAME"),
        (
            lambda: Patience({"halting": "confidence", "treshold": 1}),
            "unknown setting of halting=confidence 'treshold'; did you mean 'threshold'",
        ),
        (
            lambda: Patience({"halting": "confidence", "threshold": 7}),
            r"halting.threshold must be in \(0, 1\] for a margin, got 7",
        ),
        (
            lambda: Patience({"halting": "confidence", "threshold": "much"}),
            "halting=confidence: Value 'much' .* could not be converted to Float",
        ),
        (lambda: Patience({"_target_": "nowhere.Rule"}), "cannot import .* nowhere.Rule"),
        (lambda: Patience({"_target_": "pathlib.Path"}), "pathlib.Path must be a subclass of"),
        (lambda: Patience(times=0), "halting.times must be at least 1, got 0"),
        (lambda: Bounded(min_loops=0), "halting.min_loops must be at least 1, got 0"),
        (
            lambda: Bounded(min_loops=3, max_loops=2),
            r"halting.max_loops must be at least halting.min_loops \(3\), got 2",
        ),
        (
            lambda: AnyOf([FixedPoint(damping=0.1), FixedPoint(damping=0.2)]),
            r"must agree on halting.damping, got \[0.1, 0.2\]",
        ),
        (
            lambda: AnyOf([ExitGate(), TokenChoice()]),
            "must read the same trained head, got DepthHead and ExitHead",
        ),
    ],
)
def test_impossible_combinations_are_refused_in_one_line(
    build: Callable[[], Halting], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        build()
    assert "\n" not in str(refused.value)


# Every rule, with bounds that part the states below.

WIDTH = 4
VARIANTS: list[Halting] = [
    *(kind() for kind in RULES.values() if kind().adaptive),
    FixedPoint(0.4, norm="inf"),
    SecondOrder(0.8, patience=1),
    SecondOrder(2.0, relative=False),
    PredictionKL(0.2),
    PredictionKL(0.5, max_entropy=1.0),
    Confidence(0.3),
    Confidence(1.1, measure="entropy"),
    ExitGate(0.8),
    AllOf([PredictionKL(0.5), Patience(FixedPoint(0.9)), ExitGate(0.6)]),
    Bounded(AnyOf([SecondOrder(0.8), Confidence(0.4)]), 2, 4),
]


def states(seed: int, n: int, t: int) -> Tensor:
    """States `[6 n t d]` that slow down."""
    rng = torch.Generator().manual_seed(seed)
    steps = torch.randn(6, n, t, WIDTH, generator=rng)
    return (steps * 0.7 ** torch.arange(6)[:, None, None, None]).cumsum(0)


Run = list[tuple[dict[str, Tensor], Tensor]]


def run(rule: Halting, path: Tensor, keep: list[Tensor]) -> Run:
    """Memory and decisions after each loop; `keep[i]` are the units of one row left before loop `i`."""
    torch.manual_seed(0)
    head = rule.head(WIDTH)
    memory, found = rule.begin(path[0]), []
    for i, (before, after) in enumerate(pairwise(path)):
        if keep:
            before, after = before[:, keep[i]], after[:, keep[i]]
            if i:
                here = torch.isin(keep[i - 1], keep[i])
                memory = {name: value[:, here] for name, value in memory.items()}
        with torch.no_grad():
            memory, stops = rule.update(memory, before, after, i, TokenDistribution, head)
        found.append((memory, stops))
    return found


def looks_across(rule: Halting, seed: int, n: int, t: int) -> str:
    """What differs when some of the units, in another order, are shown in one row; empty: nothing."""
    path = states(seed, n, t)
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(n * t, generator=rng)
    last = torch.randint(1, 6, (n * t,), generator=rng)  # loops that a unit stays for
    keep = [(last > i).nonzero()[:, 0] for i in range(5)]
    whole = run(rule, path, [])
    packed = run(rule, path.flatten(1, 2)[:, None][:, :, order], keep)
    for i, ((memory, stops), (some, told)) in enumerate(zip(whole, packed, strict=True)):
        units = order[keep[i]]
        if not torch.equal(stops.flatten()[units], told[0]):
            return f"decisions after loop {i}"
        if memory.keys() != some.keys():
            return f"what is remembered after loop {i}"
        for name, value in memory.items():
            if not torch.allclose(value.flatten(0, 1)[units], some[name][0], atol=1e-5):
                return f"{name} after loop {i}"
    return ""


@pytest.mark.parametrize("rule", [r for r in VARIANTS if r.per_unit], ids=repr)
@examples(25)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 4), t=st.integers(1, 6))
def test_no_unit_looks_at_another(rule: Halting, seed: int, n: int, t: int) -> None:
    assert looks_across(rule, seed, n, t) == ""


def test_the_variants_stop_some_units_and_not_others() -> None:
    for rule in VARIANTS[len(VARIANTS) - 10 :]:
        stops = torch.stack([stops for _, stops in run(rule, states(0, 8, 8), [])])
        assert stops.any(), rule
        assert not stops.all(), rule


@dataclass
class OfTheMean(Halting):
    """Looks across: stops a unit that moves less than the others, and remembers the mean."""

    remembers: bool = False
    adaptive: ClassVar[bool] = True

    def update(self, memory, before, after, i, read, head):
        move = (after - before).norm(dim=-1)
        mean = move.mean().expand(move.shape)
        return ({"mean": mean}, move < 0) if self.remembers else ({}, move < mean)


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        (OfTheMean(), "decisions"),
        (OfTheMean(remembers=True), "mean after"),
        (FixedPoint(0.4, per="sequence"), "decisions"),
        (ExpertChoice(per="sequence"), "decisions"),
        (Patience(OfTheMean()), "streak"),
    ],
)
def test_a_rule_that_looks_across_is_found(rule: Any, complaint: str) -> None:
    found = [looks_across(rule, seed, 3, 5) for seed in range(5)]
    assert any(complaint in one for one in found), found

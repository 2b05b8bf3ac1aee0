"""Calibration finds planted thresholds, measures where they were not found, and says why nothing is saved."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
import torch
from analysis.toys import toy_model
from tensordict import TensorDict
from torch import Tensor
from torch.distributions import Normal
from toy import Toy

from loopverse.analysis.calibrate import calibrate, calibrate_run, capped_rules, usual_rules
from loopverse.analysis.calibration import Calibration
from loopverse.analysis.evaluate import evaluate_rules
from loopverse.analysis.saving import Units, rows_of
from loopverse.analysis.signals import Signals, listen
from loopverse.analysis.thresholds import Amount
from loopverse.analysis.ways import read_in_ways
from loopverse.depth import (
    AnyOf,
    Bounded,
    Confidence,
    FixedPoint,
    Halting,
    Patience,
    PredictionKL,
    SecondOrder,
)
from loopverse.depth.halting import Knob
from loopverse.depth.halting.naming import rule_in_words, title_of
from loopverse.domain import Outcome
from loopverse.training import RunFolder, read_halting
from loopverse.training.evaluation import Way, held_out

AMOUNT = Amount(batch_size=8)


@pytest.mark.parametrize(
    "rule",
    [
        FixedPoint(),
        FixedPoint(norm="inf", per="sequence"),
        FixedPoint(damping=0.3),
        SecondOrder(patience=1),
        PredictionKL(),
        PredictionKL(max_entropy=0.68),
        Confidence(),
        Confidence(measure="entropy"),
        Bounded(FixedPoint(norm="inf"), max_loops=3),
        Patience(SecondOrder(patience=1), times=1),
    ],
    ids=title_of,
)
def test_a_rule_stops_those_whose_signal_passes_its_knob(rule: Halting) -> None:
    """Whoever stops after the first loop that may stop anyone is on the right side of the threshold."""
    model, knob = toy_model(), rule.knob
    assert knob is not None
    signals = listen(model, rule, 3, **vars(AMOUNT))
    first = next(number for number, values in enumerate(signals.loops) if len(values))
    threshold = float(signals.loops[first].median()) + 1e-7 * (1 if knob.sooner == "higher" else -1)
    set_to = rule.with_knob(threshold)
    assert set_to.knob_value == threshold
    stopped = [
        measured.outcome.depth == first + 1
        for measured in held_out(model, [Way(3, set_to)], **vars(AMOUNT))
        if measured.outcome.depth is not None
    ]
    sign = 1 if knob.sooner == "higher" else -1
    share = float((sign * signals.loops[first] <= sign * threshold).float().mean())
    expected = share * len(signals.loops[first]) / sum(part.numel() for part in stopped)
    assert float(torch.cat(stopped).float().mean()) == pytest.approx(expected, abs=0.01)


def test_thresholds_go_from_late_to_soon() -> None:
    values = [torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.5, 0.5])]
    assert Signals(Knob("a"), values).thresholds(100) == [0.5, 1.0, 2.0, 3.0]
    assert Signals(Knob("a", "lower"), values).thresholds(100) == [3.0, 2.0, 1.0, 0.5]
    assert Signals(Knob("a"), []).thresholds(100) == []


def test_units_saturate_at_the_first_loop_that_is_as_good_as_any() -> None:
    losses = {1: [1.0, 5.0, 2.0], 3: [0.9, 1.0, 1.009], 2: [1.1, 3.0, 1.0]}
    units = Units({depth: [torch.tensor(row)] for depth, row in losses.items()})
    assert units.saturation(0.01).tolist() == [3, 3, 2]
    assert units.saturation(0.2).tolist() == [1, 3, 2]
    units.depths["rule"] = [torch.tensor([1, 3]), torch.tensor([3])]
    assert units.distance("rule", units.saturation(0.01)) == 1


@dataclass
class Scheduled(Halting):
    """Stops units at a loop that a number of sixteenths decides: the higher, the sooner."""

    sixteenths: float = 0.0
    adaptive: ClassVar[bool] = True
    knob: ClassVar[Knob | None] = Knob("sixteenths")

    def signal(
        self, memory: Any, before: Tensor, after: Tensor, i: int, read: Any, head: Any
    ) -> tuple[Any, Tensor]:
        place = torch.arange(after.shape[1]).expand(after.shape[:2])
        return memory, (place % 16).float()

    def update(
        self, memory: Any, before: Tensor, after: Tensor, i: int, read: Any, head: Any
    ) -> tuple[Any, Tensor]:
        memory, signal = self.signal(memory, before, after, i, read, head)
        return memory, signal < self.sixteenths


class Shallow(Toy):
    """A toy whose loss falls with every loop of a unit, by how much depends on the batch."""

    def forward(self, think: Any, batch: TensorDict) -> Outcome:
        outcome = super().forward(think, batch)
        assert outcome.depth is not None
        return replace(outcome, losses=(batch["id"][:, None] % 7 + 1) / outcome.depth)


def test_the_soonest_threshold_within_the_bound_is_found() -> None:
    """Against all thresholds, tried one by one; and what is measured is of the other batches."""
    model, bound = toy_model(adapter=Shallow), 0.6
    rule = Scheduled(kv="exact")
    found, _ = calibrate(model, [rule], loops=3, amount=AMOUNT, max_increase=bound)
    ways = {str(n): Way(3, replace(rule, sixteenths=float(n))) for n in range(12)}
    for half in (0, 1):
        table = read_in_ways(
            model,
            {"whole": Way(3), **ways},
            "whole",
            only=lambda n, half=half: n % 2 == half,
            **vars(AMOUNT),
        )
        whole, *others = [one.metrics["nats_per_bit"] for one in table.readings]
        within = [n for n, value in enumerate(others) if value / whole - 1 <= bound]
        if half == 0:
            best = max(within)
        else:
            assert found.rules[0].metric == pytest.approx(others[best])
            assert found.rules[0].loops == pytest.approx(table.loops(table[str(best)]).value)
            assert found.fixed[-1].metric == pytest.approx(whole)
    assert 0 < best < 11, "a bound that is passed somewhere on the way"
    assert (found.found_on, found.batches) == (2, 2)


def test_every_usual_rule_has_a_row_and_those_that_save_nothing_say_why() -> None:
    model = toy_model()
    found, allocation = calibrate(model, loops=3, amount=AMOUNT, max_increase=0.5)
    enough = next(row.loops for row in found.fixed if row.increase <= 0.5)
    rules = usual_rules(model) + (capped_rules(int(enough)) if enough < 3 else [])
    assert [row.name for row in found.rules] == [title_of(rule) for rule in rules]
    assert [row.loops for row in found.fixed] == [1, 2, 3]
    assert found.fixed[-1].increase == 0
    for row in found.rules:
        assert bool(row.note) == (row.saved <= 0.01 or not row.settings or row.loops == 3)
    assert 1 <= found.oracle <= 3
    for name, spent in allocation.spent.items():
        (row,) = [row for row in found.rules if row.name == name]
        assert spent.loops.mean.value == pytest.approx(row.loops)
        assert spent.relations["loss"].correlation == row.follows


class SettlesAtTwo(Toy):
    """A toy whose loss is halved by the second loop and not changed by a third."""

    def forward(self, think: Any, batch: TensorDict) -> Outcome:
        outcome = super().forward(think, batch)
        assert outcome.depth is not None
        return replace(outcome, losses=torch.where(outcome.depth < 2, 1.0, 0.5))


def test_loops_that_nobody_needs_are_left_out_for_all() -> None:
    model = toy_model(adapter=SettlesAtTwo)
    found, _ = calibrate(model, loops=3, amount=AMOUNT, max_increase=0.1)
    capped = {row.name: row for row in found.rules if row.name.startswith("bounded")}
    assert list(capped) == [title_of(rule) for rule in capped_rules(2)]
    for row in capped.values():
        assert row.increase == 0
        assert row.loops == 2 or row.note
    assert capped["bounded (fixed_depth) max_loops=2"].settings == (
        "halting=bounded halting.rule={halting: fixed_depth, kv: copy, shrink: always, late: false} "
        "halting.max_loops=2"
    )


def test_a_rule_that_stops_all_at_once_keeps_no_keys_of_single_units() -> None:
    assert not Bounded("fixed_depth", max_loops=2).splits_rows
    assert not Bounded(FixedPoint(per="sequence"), max_loops=2).splits_rows
    assert Bounded("fixed_point", max_loops=2).splits_rows
    assert AnyOf([FixedPoint(per="sequence"), FixedPoint()]).splits_rows is False


def test_there_are_enough_batches_for_intervals(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 sequences, of which training reads 4 at a time: by twos there are 16 batches."""
    endless = Toy.batches

    def batches(self: Toy, split: Any, *, batch_size: int, **_: int) -> Iterator[TensorDict]:
        for number in range(32 // batch_size):
            yield from islice(
                endless(self, "train", batch_size=batch_size, seed=0, start=number), 1
            )

    monkeypatch.setattr(Toy, "batches", batches)
    found = calibrate_run(run, [FixedPoint()], loops=2, max_increase=0.9)
    assert (found.found_on, found.batches) == (8, 8)
    found = calibrate_run(run, [FixedPoint()], loops=2, max_increase=0.9, batch_size=8)
    assert (found.found_on, found.batches) == (2, 2)


def test_batches_are_not_cut_in_vain(run: RunFolder) -> None:
    """The toy has four batches, whatever their size."""
    with mock.patch.object(Toy, "batches", autospec=True, side_effect=Toy.batches) as asked:
        calibrate_run(run, [FixedPoint()], loops=2, max_increase=0.9)
    assert asked.call_args.kwargs["batch_size"] == 4


def test_time_and_loops_saved_are_those_of_the_loops() -> None:
    """One loop of a model without anything outside of it saves two thirds of three."""
    units = Units()
    ways = {"1 loop": Way(1), "2 loops": Way(2), "3 loops": Way(3)}
    table = read_in_ways(toy_model(), ways, "3 loops", watchers=[units.add], **vars(AMOUNT))
    for reading, seconds in zip(table.readings, (1.5, 2.5, 3.5), strict=True):
        reading.seconds_per_unit = seconds
    rows = rows_of(table, 3, units, 0.01).values()
    assert [row.saved for row in rows] == pytest.approx([2 / 3, 1 / 3, 0])
    assert [row.seconds for row in rows] == pytest.approx([1.5 / 3.5, 2.5 / 3.5, 1])


class Continuous(Toy):
    """A toy that predicts a number, of which nothing is the second most likely."""

    def predict(self, z: Tensor) -> Any:
        return Normal(self.head(z)[..., 0], 1.0)


def test_a_rule_that_cannot_work_here_says_so_in_its_row() -> None:
    found, _ = calibrate(toy_model(adapter=Continuous), loops=3, amount=AMOUNT, max_increase=0.5)
    (margin,) = [row for row in found.rules if row.name == "confidence"]
    assert "needs categories and this domain predicts Normal" in margin.note
    assert (margin.loops, margin.increase) == (3, 0)


def test_a_rule_without_a_threshold_is_held_to_the_bound_too() -> None:
    rule, model = Bounded("fixed_depth", max_loops=1), toy_model(adapter=Shallow)
    found, _ = calibrate(model, [rule], loops=3, amount=AMOUNT, max_increase=0.9)
    assert "as it is, it costs +200.00%" in found.rules[0].note
    assert not found.chosen


def test_what_was_chosen_is_what_calibrated_stands_for(run: RunFolder) -> None:
    found = calibrate_run(run, [FixedPoint()], loops=4, max_increase=0.9)
    assert Calibration.load(run.path).rules == found.rules
    if not found.chosen:
        with pytest.raises(ValueError, match="no rule saved anything .* --max-increase 2%"):
            read_halting(["halting=calibrated"], run.path)
        found.chosen = {"halting": "fixed_point", "tolerance": 0.25}
        found.save(run.path)
    rule, others = read_halting(["halting=calibrated", "length=3"], run.path)
    assert isinstance(rule, FixedPoint)
    assert rule.tolerance == found.chosen["tolerance"]
    assert others == ["length=3"]
    with pytest.raises(ValueError, match="has the settings that were found, got halting.tolerance"):
        read_halting(["halting=calibrated", "halting.tolerance=1"], run.path)


def test_a_run_that_is_not_calibrated_says_what_comes_first(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`loopverse calibrate .*` comes first"):
        read_halting(["halting=calibrated"], run.path)
    (run.path / "calibration.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"calibration.json is damaged .* `loopverse calibrate"):
        read_halting(["halting=calibrated"], run.path)
    with pytest.raises(ValueError, match=r"calibration.json is damaged .* `loopverse calibrate"):
        Calibration.load(run.path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loops": 1}, "expected at least 2 loops, of which some can be saved, got 1"),
        ({"max_increase": 0}, "above 0 and below 1"),
        ({"amount": Amount(batch_size=8, max_batches=1)}, "at least 2 batches"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrate(toy_model(), **{"loops": 3, "amount": AMOUNT, **arguments})


def test_a_rule_is_named_with_what_is_not_usual_about_it() -> None:
    assert title_of(FixedPoint(tolerance=0.2)) == "fixed_point"
    assert title_of(FixedPoint(tolerance=0.2, norm="inf")) == "fixed_point norm=inf"
    assert title_of(Scheduled()) == "Scheduled"
    assert title_of(Bounded(FixedPoint(0.2), max_loops=2)) == "bounded (fixed_point) max_loops=2"
    assert title_of(AnyOf([FixedPoint(per="sequence"), "confidence"])) == (
        "any_of (fixed_point per=sequence, confidence)"
    )
    assert rule_in_words(FixedPoint(tolerance=0.2)) == "halting=fixed_point halting.tolerance=0.2"


@pytest.mark.parametrize(
    ("tolerance", "what"),
    [(1e-9, "stops no unit before the last loop"), (1e9, "stops every unit after the first loop")],
)
def test_a_threshold_that_never_or_always_fires_is_told_with_what_the_rule_looks_at(
    run: RunFolder, tolerance: float, what: str
) -> None:
    line = f"halting=fixed_point with halting.tolerance={tolerance:.3g} {what}; what it looks at is"
    with pytest.warns(match=re.escape(line) + r".* after loop 1 \S+ \(\S+ to \S+\), after loop 2"):
        evaluate_rules(run, {"mine": FixedPoint(tolerance=tolerance)}, [3])
    evaluate_rules(run, {"mine": SecondOrder(tolerance=1.0, patience=1)}, [3])

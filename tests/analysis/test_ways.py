"""Held-out data read in several ways: the same as one way at a time, on the same batches."""

from typing import Any

import pytest
import torch
from analysis.toys import toy_model

from loopverse.analysis.evaluate import evaluate_depths
from loopverse.analysis.ways import WayTable, read_in_ways
from loopverse.depth import FixedPoint
from loopverse.domain import Outcome
from loopverse.exhibit import Estimate
from loopverse.training.evaluation import Measured, Way

RULE = FixedPoint(tolerance=0.5)
WAYS = {"1 loop": Way(1), "3 loops": Way(3), "settles": Way(3, RULE)}


def table(**changes: Any) -> WayTable:
    return read_in_ways(toy_model(), WAYS, "3 loops", batch_size=4, **changes)


def test_fixed_depths_are_what_the_evaluation_by_depth_says() -> None:
    found, depths = table(), evaluate_depths(toy_model(), [1, 3], trained=3, batch_size=4)
    assert found.weights == depths.weights
    for name, depth in zip(("1 loop", "3 loops"), depths.depths, strict=True):
        assert found[name].batches == depth.batches
        assert found[name].metrics == depth.metrics
        assert found[name].loops == [float(name[0])] * 4


def test_a_rule_costs_what_its_units_got() -> None:
    seen: list[torch.Tensor] = []

    def watch(name: str, measured: Measured) -> None:
        if name == "settles":
            assert measured.outcome.depth is not None
            seen.append(measured.outcome.depth[measured.outcome.weights > 0].double().mean())

    found = table(watchers=[watch])
    assert found["settles"].loops == [float(mean) for mean in seen]
    assert 1 < found.loops(found["settles"]).value < 3


def test_only_asks_for_some_batches() -> None:
    even, every = table(only=lambda number: number % 2 == 0), table()
    assert even["settles"].batches == every["settles"].batches[::2]
    assert even.weights == every.weights[::2]


def test_what_is_lost_is_paired_and_against_the_reference() -> None:
    found = table()
    one, full = found["1 loop"], found["3 loops"]
    assert found.lost(full) == Estimate(0.0, 0.0)
    overall = one.metrics["nats_per_bit"] - full.metrics["nats_per_bit"]
    assert found.lost(one).value == pytest.approx(overall)
    assert found.time(full) == 1


def test_it_is_shown_with_a_dash_where_nothing_is_to_be_said() -> None:
    shown = table().exhibit()
    assert [row[0] for row in shown.rows] == list(WAYS)
    assert [row[2] is None for row in shown.rows] == [False, True, False]
    assert [type(row[3]) for row in shown.rows] == [float, float, Estimate]
    assert "`halting=fixed_point halting.tolerance=0.5`" in shown.note


def test_loops_that_the_domain_does_not_say_are_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy_model()
    forward = type(model.adapter).forward

    def silent(self: Any, think: Any, batch: Any) -> Outcome:
        outcome = forward(self, think, batch)
        outcome.depth = None
        return outcome

    monkeypatch.setattr(type(model.adapter), "forward", silent)
    found = read_in_ways(model, WAYS, "3 loops", batch_size=4)
    assert [row[3] for row in found.exhibit().rows] == [1.0, 3.0, None]


def test_no_held_out_data_is_an_error_and_not_a_number() -> None:
    with pytest.raises(ValueError, match="Toy yields no held-out batches"):
        table(only=lambda _: False)

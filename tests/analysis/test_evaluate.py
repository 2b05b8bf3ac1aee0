"""Evaluation at several depths: the same as at each depth alone, on paired batches."""

from typing import Any

import pytest
import torch
from analysis.toys import toy_core, toy_model
from stepwise import Stepwise, StepwiseSampling
from tensordict import TensorDict
from toy import Toy

from loopverse.analysis.evaluate import evaluate_depths, sampled
from loopverse.domain import Outcome
from loopverse.training import evaluate


def test_each_depth_gets_what_the_evaluation_during_training_says() -> None:
    model = toy_model()
    table = evaluate_depths(model, [3, 1], trained=3, batch_size=4)
    assert [depth.loops for depth in table.depths] == [1, 3]
    for depth in table.depths:
        assert depth.metrics == evaluate(model, depth=depth.loops, batch_size=4)


class Noisy(Toy):
    """A toy whose loss has noise in it, from the global generator as strangers draw."""

    def loss(self, prediction: Any, batch: TensorDict) -> Outcome:
        outcome = super().loss(prediction, batch)
        outcome.losses = outcome.losses + torch.rand_like(outcome.losses)
        return outcome


def test_every_depth_sees_the_same_draws() -> None:
    """So a model whose loops change nothing gains nothing, to the bit."""
    model = toy_model(adapter=Noisy)
    with torch.no_grad():
        model.core.output_norm.weight.zero_()
    table = evaluate_depths(model, [1, 2], trained=2, batch_size=4)
    assert table.depths[0].batches == table.depths[1].batches
    assert len(set(table.depths[0].batches)) == 4


def test_weights_are_the_units_that_count_and_average_to_the_metric() -> None:
    table = evaluate_depths(toy_model(), [2], trained=2, batch_size=5)
    depth, total = table.depths[0], sum(table.weights)
    assert len(table.weights) == 4
    assert total < 4 * 5 * 12
    mean = sum(w * v for w, v in zip(table.weights, depth.batches, strict=True)) / total
    assert mean == pytest.approx(depth.metrics["nats_per_bit"], rel=1e-6)


def test_evaluation_twice_gives_the_same_numbers_and_leaves_the_mode_alone() -> None:
    model = toy_model().train()
    first = evaluate_depths(model, [1, 2], trained=2, batch_size=4, max_batches=2)
    second = evaluate_depths(model, [1, 2], trained=2, batch_size=4, max_batches=2)
    assert [depth.batches for depth in first.depths] == [depth.batches for depth in second.depths]
    assert len(first.weights) == 2
    assert model.training


def test_every_added_loop_costs_the_same() -> None:
    table = evaluate_depths(toy_model(), [1, 2, 3], trained=3, batch_size=4)
    one, two, three = (depth.flops_per_unit for depth in table.depths)
    assert 0 < two - one == pytest.approx(three - two)


def test_an_untied_core_is_not_asked_for_more_than_it_has() -> None:
    model = toy_model(toy_core(tied=False))
    with pytest.raises(ValueError, match="untied core of 3 loops cannot run 4"):
        evaluate_depths(model, [4], trained=3, batch_size=4)


def test_no_held_out_data_is_an_error_and_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy_model()
    monkeypatch.setattr(model.adapter, "batches", lambda *_, **__: iter(()))
    with pytest.raises(ValueError, match="Toy yields no held-out batches"):
        evaluate_depths(model, [1], trained=1, batch_size=4)


def test_it_asks_no_other_process_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here there is none that could answer, though torch says so."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    table = evaluate_depths(toy_model(), [1], trained=1, batch_size=4)
    assert len(table.depths[0].batches) == 4


def test_a_sample_is_what_the_domain_makes_of_the_prompt_and_nothing_where_it_refuses() -> None:
    model = toy_model(adapter=Stepwise)
    settings = StepwiseSampling(length=4)
    assert sampled(model, 2, settings=settings) != ""
    assert sampled(model, 2, "01", settings).startswith("01")
    assert sampled(toy_model(), 2, "01") == ""

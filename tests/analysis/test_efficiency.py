"""Costs: counted by hand, and against torch's own counter."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from analysis.toys import toy_core, toy_model
from cores import PRESETS, preset
from tensordict import TensorDict
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from toy import Toy

from loopverse.analysis.efficiency import applied, core_flops, measure_cost, parts
from loopverse.domain import Outcome, Think
from loopverse.model import LoopedModel
from loopverse.nn import CoreConfig, CoreInput

CORES: dict[str, CoreConfig] = {
    **{name: preset(name, width=32) for name in PRESETS},
    "one layer": toy_core(num_prelude=0, num_loop=1, num_coda=0),
    "untied": toy_core(tied=False),
    "all kinds of norms": toy_core(qk_norm=True, norms="sandwich", num_kv_heads=1),
    "conditioned": toy_core(conditioned=True),
}


class Conditioned(Toy):
    """A toy with a condition per row."""

    def embed(self, batch: TensorDict) -> CoreInput:
        inputs = super().embed(batch)
        inputs.cond = inputs.x.mean(1)
        return inputs


def model_of(core: CoreConfig) -> LoopedModel:
    return toy_model(core, Conditioned if core.conditioned else Toy)


def one_batch(model: LoopedModel) -> TensorDict:
    batch = next(model.adapter.batches("valid", batch_size=3, seed=0))
    return model.adapter.prepare(batch, torch.Generator().manual_seed(0))


def counted_flops(model: LoopedModel, depth: int) -> float:
    batch = one_batch(model)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        outcome = model.adapter(model.bind(depth), batch)
    return counter.get_total_flops() / outcome.losses.numel()


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize("depth", [1, 3])
def test_flops_agree_with_the_counter_of_torch_within_one_percent(name: str, depth: int) -> None:
    model = model_of(CORES[name])
    found = measure_cost(model, one_batch(model)).per_unit(model.core, depth)
    assert found == pytest.approx(counted_flops(model, depth), rel=0.01)


@pytest.mark.parametrize("name", CORES)
def test_parts_add_up_to_every_parameter_once(name: str) -> None:
    model = model_of(CORES[name])
    assert sum(p.parameters for p in parts(model)) == sum(p.numel() for p in model.parameters())


def test_a_tied_loop_applies_at_depth_what_an_untied_one_stores() -> None:
    tied, untied = parts(model_of(toy_core())), parts(model_of(toy_core(tied=False)))
    assert applied(tied, 3) == sum(part.parameters for part in untied)
    assert applied(untied, 3) == applied(tied, 3)
    assert applied(tied, 1) == sum(part.parameters for part in tied)


def test_a_parameter_that_two_parts_share_is_counted_once() -> None:
    model = model_of(toy_core())
    model.core.coda = model.core.prelude
    assert sum(p.parameters for p in parts(model)) == sum(p.numel() for p in model.parameters())


def test_cached_units_are_attended_to_and_not_computed_again() -> None:
    core = model_of(toy_core()).core
    whole = core_flops(core, 12, 0, depth=2)
    first, second = core_flops(core, 8, 0, depth=2), core_flops(core, 4, 8, depth=2)
    num_layers = 1 + 2 * 2 + 1
    unread = 4 * 32 * num_layers * 8 * 4  # the upper right corner of the square
    assert first + second == whole - unread


@dataclass
class Twice:
    """A think that thinks two times."""

    think: Think

    def __call__(self, inputs: CoreInput, carry: Tensor | None = None, outer: float = 0.0) -> Any:
        return self.think(inputs, self.think(inputs).z)


class ThinksTwice(Toy):
    """A domain that starts the second thought where the first one ended."""

    def forward(self, think: Think, batch: TensorDict) -> Outcome:
        return super().forward(Twice(think), batch)


def test_a_domain_that_thinks_twice_pays_for_the_core_twice() -> None:
    model = toy_model(adapter=ThinksTwice)
    cost = measure_cost(model, one_batch(model))
    assert cost.calls == [(3, 12, 0)] * 2
    assert cost.per_unit(model.core, 2) == pytest.approx(counted_flops(model, 2), rel=0.01)

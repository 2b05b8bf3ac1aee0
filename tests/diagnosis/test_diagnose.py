"""What was planted in a model is named in its diagnosis."""

import math
from statistics import fmean
from typing import Any

import pytest
import torch
from loops_planted import WIDTH, Bits, planted
from torch import Tensor
from torchmetrics import MeanMetric

from loopverse.depth import ExitGate, Expected
from loopverse.diagnosis import Diagnosis, diagnose
from loopverse.model import LoopedModel


def diagnosed(model: LoopedModel, trained: int = 4, **settings: Any) -> Diagnosis:
    return diagnose(model, trained, batch_size=4, max_batches=4, **settings)


def named(found: Diagnosis) -> dict[str, str]:
    return {one.name: one.kind for one in found.findings}


def improving(z: Tensor, e: Tensor, loop: int) -> Tensor:
    """Nearer to the input in every loop: a contraction by a half."""
    return 0.5 * z + 0.5 * e


def lost_again(z: Tensor, e: Tensor, loop: int) -> Tensor:
    """Right in the first two loops, wrong in the others."""
    return e if loop < 2 else -e


def mostly_gaining(z: Tensor, e: Tensor, loop: int) -> Tensor:
    """Wrong in the first loop and right in the others; the first place the other way round."""
    found = e if loop else -e
    return torch.cat([-found[:, :1], found[:, 1:]], dim=1)


def collapsing(z: Tensor, e: Tensor, loop: int) -> Tensor:
    """A state of its own for every place, then nearly the same for all."""
    if loop == 0:
        rng = torch.Generator().manual_seed(0)
        return e + torch.randn(e.shape[1], WIDTH, generator=rng)
    return z.mean((0, 1), keepdim=True).expand_as(z) + 0.01 * z


def swinging(z: Tensor, e: Tensor, loop: int) -> Tensor:
    """There and back: an orbit of two."""
    return e + 0.9 * (1 if loop % 2 else -1) * e.roll(1, dims=-1)


def test_a_model_that_needs_its_loops_is_told_so() -> None:
    found = diagnosed(planted(improving))
    names = named(found)
    assert names["loops are used"] == "well"
    assert names["little overthinking"] == "well"
    assert names["it settles"] == "well"
    assert found.settling is not None
    assert found.settling.gain_last == pytest.approx(
        [0.5] * len(found.settling.gain_last), rel=0.01
    )
    assert "unhealthy" not in names.values()


def test_the_step_and_the_turn_are_those_of_the_contraction() -> None:
    found = diagnosed(planted(improving))
    for loop in (2, 3, 4):
        expected = 0.5**loop / (1 - 0.5**loop)
        assert found.trace.step[loop] == pytest.approx([expected] * 4, rel=0.01)
        assert found.trace.turn[loop] == pytest.approx([1.0] * 4, rel=0.01)


def test_an_overthinker_is_named() -> None:
    found = diagnosed(planted(lost_again))
    assert named(found)["overthinking"] == "unhealthy"
    assert found.choice.loops == 1
    assert found.sweep.overthought == pytest.approx([1.0] * 4)
    assert found.sweep.right[1] == pytest.approx([1.0] * 4)
    assert found.sweep.right[4] == pytest.approx([0.0] * 4)


def test_where_more_is_gained_than_lost_the_loss_is_not_called_little() -> None:
    found = diagnosed(planted(mostly_gaining))
    names = named(found)
    assert names["more units gain than lose"] == "well"
    assert not names.keys() & {"little overthinking", "overthinking"}
    assert 0.02 < fmean(found.sweep.overthought) < fmean(found.sweep.refined)


def test_a_rank_collapse_is_named() -> None:
    assert named(diagnosed(planted(collapsing)))["rank collapse"] == "unhealthy"


def test_oscillation_is_named() -> None:
    assert named(diagnosed(planted(swinging)))["oscillation"] == "unhealthy"


def test_a_collapsed_gate_is_named() -> None:
    model = planted(improving, ExitGate(), Expected())
    assert model.head is not None
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.fill_(0 if parameter.ndim > 1 else 20)
    found = diagnosed(model, rule=ExitGate())
    assert named(found)["the gate has collapsed"] == "unhealthy"
    assert found.gate is not None
    assert found.gate.shares == {1: 1.0}


def test_a_gate_that_tells_units_apart_is_well() -> None:
    """Ones stop at once, and noughts never."""
    model = planted(improving, ExitGate(), Expected())
    assert model.head is not None
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.copy_(40 * torch.eye(WIDTH)[:1] if parameter.ndim > 1 else 0 * parameter)
    found = diagnosed(model, rule=ExitGate())
    assert named(found)["the gate tells units apart"] == "well"
    assert found.gate is not None
    assert set(found.gate.shares) == {1, 4}


class Perfect(Bits):
    """Whose headline metric is the share of wrong bits: none, from the second loop on."""

    metric = "wrong_percent"

    def metrics(self) -> Any:
        return {self.metric: MeanMetric()}

    def measure(self, metrics: Any, outcome: Any, batch: Any) -> None:
        metrics[self.metric].update(100.0 * ~self.correct(outcome, batch), outcome.weights)


def found_late(z: Tensor, e: Tensor, loop: int) -> Tensor:
    return e if loop else -e


def test_a_model_that_makes_no_mistake_can_be_diagnosed() -> None:
    model = planted(found_late)
    model.adapter.__class__ = Perfect
    found = diagnosed(model)
    assert (found.choice.loops, found.choice.worse) == (2, 0)
    said = next(one.evidence for one in found.findings if one.name == "loops are used")
    assert said == "1 loop instead of 4 costs +100 wrong percent"


def test_looking_changes_nothing() -> None:
    """The trained depth, read while it is watched, is the trained depth."""
    model = planted(improving)
    found = diagnosed(model)
    value = found.table["4 loops"].metrics[found.table.metric]
    nats = math.log1p(math.exp(-6 * (1 - 0.5**4)))
    assert value == pytest.approx(nats, rel=1e-4)
    assert not model.training


def test_depths_are_paired_with_the_trained_one() -> None:
    found = diagnosed(planted(improving))
    assert found.sweep.depths == [1, 2, 3, 4, 6, 8]
    assert set(found.sweep.shift) == {2, 3, 4, 6, 8}
    for depth in found.sweep.depths:
        assert found.sweep.agreement[depth] == pytest.approx([1.0] * 4)
    shift = found.sweep.shift
    assert shift[2][0] > shift[3][0] > shift[4][0] > shift[6][0] > shift[8][0] > 0

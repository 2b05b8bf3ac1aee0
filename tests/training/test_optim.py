"""Which parameter goes to which optimiser, and which of them decay."""

from pathlib import Path

import pytest
import torch
import toy

from loopverse.model import LoopedModel
from loopverse.training.build import build_model
from loopverse.training.optim import AdamW, Muon, Optimizer


@pytest.fixture
def model(tmp_path: Path) -> LoopedModel:
    model = build_model(toy.toy_config(tmp_path))
    matrix = model.get_parameter("core.prelude.blocks.0.attention.out.weight")
    setattr(matrix, "no_weight_decay", True)  # noqa: B010  as the matrices of Parcae's retention do
    return model


def groups(model: LoopedModel, strategy: Optimizer) -> dict[str, tuple[str, float]]:
    """Optimiser and decay of every parameter, which must be owned exactly once."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    found: dict[str, tuple[str, float]] = {}
    for optimizer in strategy.build(model):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                assert names[parameter] not in found
                found[names[parameter]] = (type(optimizer).__name__, group["weight_decay"])
    return found


@pytest.mark.parametrize("strategy", [AdamW(), Muon()])
def test_every_parameter_is_owned_exactly_once(model: LoopedModel, strategy: Optimizer) -> None:
    assert groups(model, strategy).keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("strategy", [AdamW(weight_decay=0.3), Muon(weight_decay=0.3)])
def test_only_unmarked_matrices_decay(model: LoopedModel, strategy: Optimizer) -> None:
    for name, (_, decay) in groups(model, strategy).items():
        parameter = model.get_parameter(name)
        marked = getattr(parameter, "no_weight_decay", False)
        expected = parameter.ndim == 2 and not marked and name != "adapter.bits.weight"
        assert (decay > 0) == expected, name


def test_muon_takes_the_hidden_matrices_of_the_core_and_nothing_else(model: LoopedModel) -> None:
    for name, (optimizer, _) in groups(model, Muon()).items():
        parameter = model.get_parameter(name)
        hidden = name.startswith("core.") and parameter.ndim == 2
        hidden &= not getattr(parameter, "no_weight_decay", False)
        assert (optimizer == "Muon") == hidden, name


def test_muon_leaves_a_matrix_shared_with_the_domain_to_adamw(model: LoopedModel) -> None:
    shared = model.get_parameter("core.bodies.0.layers.blocks.0.feed_forward.down.weight")
    model.adapter.register_parameter("shared", shared)
    muon = Muon().build(model)[0]
    assert all(p is not shared for group in muon.param_groups for p in group["params"])


def test_frozen_parameters_belong_to_no_optimiser(model: LoopedModel) -> None:
    model.adapter.requires_grad_(False)
    assert all(name.startswith("core.") for name in groups(model, Muon()))


def test_muon_without_hidden_matrices_is_adamw(model: LoopedModel) -> None:
    model.core.requires_grad_(False)
    (only,) = Muon().build(model)
    assert isinstance(only, torch.optim.AdamW)


@pytest.mark.parametrize(
    ("build", "setting"),
    [
        (lambda: AdamW(lr=-1), "lr of AdamW"),
        (lambda: AdamW(betas=(0.9, 1.0)), "betas of AdamW"),
        (lambda: Muon(weight_decay=-1), "weight_decay of Muon"),
        (lambda: Muon(momentum=1.0), "momentum of Muon"),
    ],
)
def test_impossible_settings_are_refused(build: type, setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        build()

"""A trained model without loops becomes a looped one that begins as the same function."""

import pytest
import torch
from domains.masked_diffusion.models import adapter_of, make_model
from torch import Tensor

from loopverse import CoreConfig, LoopedModel
from loopverse.nn import Add, Attend, CoreInput, Zeros
from loopverse_masked_diffusion import loopify

UNLOOPED = {"num_prelude": 2, "num_loop": 1, "num_coda": 3, "loops": 1}


def logits(model: LoopedModel, loops: int) -> Tensor:
    tokens = torch.randint(0, 258, (2, 10), generator=torch.Generator().manual_seed(0))
    adapter = adapter_of(model)
    inputs = CoreInput(adapter.embed_tokens(tokens), Attend(causal=False))
    with torch.no_grad():
        return adapter.predict(model.bind(loops)(inputs).z).raw


@pytest.mark.parametrize("layers", [(1, 2), (0,), (2, 3, 4), (5,), (0, 1, 2, 3, 4, 5)])
def test_at_one_loop_the_logits_are_the_originals(layers: tuple[int, ...]) -> None:
    model = make_model(shape=UNLOOPED)
    looped = loopify(model, layers, loops=3)
    assert torch.equal(logits(looped, 1), logits(model, 1))
    assert looped.core.config.num_loop == len(layers)
    assert looped.core.config.loops == 3


def test_more_loops_are_another_function_and_the_original_stays_as_it_was() -> None:
    model = make_model(shape=UNLOOPED)
    before = logits(model, 1)
    looped = loopify(model)
    assert not torch.allclose(logits(looped, 2), before)
    with torch.no_grad():
        for parameter in looped.parameters():
            parameter.add_(1.0)
    assert torch.equal(logits(model, 1), before)


@pytest.mark.parametrize(
    ("layers", "message"),
    [((), "consecutive"), ((1, 3), "consecutive"), ((5, 6), "among 0 to 5"), ((-1, 0), "among")],
)
def test_layers_that_cannot_loop_are_refused(layers: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loopify(make_model(shape=UNLOOPED), layers)


def test_a_model_that_loops_already_is_refused() -> None:
    with pytest.raises(ValueError, match="core.loops=1"):
        loopify(make_model(shape={**UNLOOPED, "loops": 4}))


def test_a_core_that_normalises_between_its_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="follow on each other"):
        loopify(make_model(shape={**UNLOOPED, "state_norm": "last"}))


def test_a_plain_core_can_be_looped_too() -> None:
    model = make_model(shape=UNLOOPED)
    torch.manual_seed(1)
    config = CoreConfig(width=16, num_heads=2, injection=Add(), init=Zeros(), **UNLOOPED)
    plain = LoopedModel(model.adapter, config).eval()
    assert torch.equal(logits(loopify(plain), 1), logits(plain, 1))

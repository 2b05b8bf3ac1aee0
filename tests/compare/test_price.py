"""What a model costs: parameters to the last one, FLOPs as torch counts them."""

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from loopverse.compare.table import _a_batch, price_of
from loopverse.training import build_model
from loopverse.training.compose import compose
from loopverse.training.sources import group_options

DOMAINS = {
    "autoregressive": ["domain.context=64"],
    "masked_diffusion": ["domain.context=64"],
    "world_model": [],
    "puzzle": [],
}


@pytest.mark.parametrize("loops", [1, 3])
@pytest.mark.parametrize("core", ["own", *group_options("core")])
@pytest.mark.parametrize("domain", DOMAINS)
def test_training_flops_are_those_that_torch_counts(domain: str, core: str, loops: int) -> None:
    words = [f"domain={domain}", *([] if core == "own" else [f"core={core}"]), "size=tiny"]
    words += [f"core.loops={loops}", "schedule=constant", "gradient=full", "training.batch_size=2"]
    config = compose([*words, "training.precision=fp32", *DOMAINS[domain]])
    if domain == "world_model" and not config.core.injection.reads_input:
        pytest.skip("a carried state that reads no input: the prelude gets no gradient")
    price, model = price_of(config), build_model(config)
    batch = _a_batch(model, config)
    think = model.bind(loops)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        outcome = model.adapter(think, batch)
        forward = counter.get_total_flops()
        outcome.loss.backward()
    units = outcome.losses.numel()
    assert price.forward == pytest.approx(forward / units, rel=0.01)
    assert price.training == pytest.approx(counter.get_total_flops() / units, rel=0.01)
    assert price.parameters == sum(p.numel() for p in model.parameters())

"""Small looped masked-diffusion models with random weights."""

import torch

from loopverse import CoreConfig, LoopedModel
from loopverse.nn import Embed, NoInjection
from loopverse_masked_diffusion import MaskedDiffusion, MaskedDiffusionConfig

WIDTH = 16


def make_model(seed: int = 0, shape: dict | None = None, **settings: object) -> LoopedModel:
    """A small model with random weights, in evaluation."""
    torch.manual_seed(seed)
    core = {"num_prelude": 1, "num_loop": 1, "num_coda": 1, **(shape or {})}
    config = CoreConfig(width=WIDTH, num_heads=2, injection=NoInjection(), init=Embed(), **core)
    adapter = MaskedDiffusion(MaskedDiffusionConfig(**({"context": 24} | settings)), WIDTH)
    return LoopedModel(adapter, config).eval()


def adapter_of(model: LoopedModel) -> MaskedDiffusion:
    assert isinstance(model.adapter, MaskedDiffusion)
    return model.adapter

"""Small looped world models with random weights, on toy environments."""

from typing import Any

import torch
from domains.world_model.toys import TOY

from loopverse import CoreConfig, LoopedModel
from loopverse.nn import Normal, RetentionResidual
from loopverse_world_model import WorldModel, WorldModelConfig

WIDTH = 16


def make_model(
    space: str = "vector", action: str = "discrete", seed: int = 0, **settings: Any
) -> LoopedModel:
    """A small model, in evaluation; its data are two hundred transitions of a toy."""
    torch.manual_seed(seed)
    core = CoreConfig(
        width=WIDTH,
        num_heads=2,
        num_prelude=0,
        num_loop=1,
        num_coda=0,
        loops=2,
        prelude_norm=True,
        injection=RetentionResidual(),
        init=Normal(),
    )
    chosen = {"env": TOY, "env_kwargs": {"space": space, "action": action}}
    chosen |= {"transitions": 200, "horizon": 4, **settings}
    return LoopedModel(WorldModel(WorldModelConfig(**chosen), WIDTH), core).eval()


def adapter_of(model: LoopedModel) -> WorldModel:
    assert isinstance(model.adapter, WorldModel)
    return model.adapter

"""Untrained toy models for the tests of this folder."""

from typing import Any

import torch
from cores import stir
from toy import Toy, ToyConfig

from loopverse.model import LoopedModel
from loopverse.nn import Add, CoreConfig, Zeros


def toy_core(**changes: Any) -> CoreConfig:
    """A core of width 32 and three loops."""
    settings = {"width": 32, "num_heads": 4, "loops": 3, "injection": Add(), "init": Zeros()}
    return CoreConfig(**{**settings, **changes})


def toy_model(core: CoreConfig | None = None, adapter: type[Toy] = Toy) -> LoopedModel:
    """The same weights every time; `prepare` flips some bits."""
    core = core or toy_core()
    torch.manual_seed(0)
    return stir(LoopedModel(adapter(ToyConfig(flip=0.2), core.width), core)).eval()

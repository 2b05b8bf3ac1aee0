"""Small looped language models with random weights."""

import torch

from loopverse import CoreConfig, LoopedModel
from loopverse.nn import Add, Concat, Injection, NoInjection, Normal, Retention, StateInit, Zeros
from loopverse.nn import Embed as FromInput
from loopverse_autoregressive import Autoregressive, AutoregressiveConfig

WIDTH = 16
CORES: dict[str, tuple[Injection, StateInit, dict]] = {
    "plain": (Add(), Zeros(), {}),
    "noise": (Concat(), Normal(), {"norms": "sandwich_sum", "num_kv_heads": 1, "qk_norm": True}),
    "ouro": (NoInjection(), FromInput(), {"num_prelude": 0, "num_coda": 0, "state_norm": "every"}),
    "untied": (Retention(), Zeros(), {"tied": False, "loops": 4}),
}


def make_model(core: str = "plain", seed: int = 0, **settings: object) -> LoopedModel:
    """A small model with random weights, in evaluation."""
    torch.manual_seed(seed)
    injection, init, shape = CORES[core]
    config = CoreConfig(
        width=WIDTH, num_heads=2, num_loop=1, injection=injection, init=init, **shape
    )
    adapter = Autoregressive(AutoregressiveConfig(**({"context": 24} | settings)), WIDTH)
    return LoopedModel(adapter, config).eval()


def adapter_of(model: LoopedModel) -> Autoregressive:
    assert isinstance(model.adapter, Autoregressive)
    return model.adapter

"""What the heads look at, held against what they read."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loopverse.depth import LoopPlan
from loopverse.diagnosis.attention import AttentionTrace, attention_weights
from loopverse.nn import Add, Attend, CoreConfig, CoreInput, PositionNoise, RecurrentCore, Zeros
from loopverse.nn.attention import Attention


def small_core(**changes: object) -> RecurrentCore:
    torch.manual_seed(0)
    settings = {"width": 16, "num_heads": 4, "loops": 3, "injection": Add(), "init": Zeros()}
    return RecurrentCore(CoreConfig(**{**settings, **changes})).eval()


def layers(core: RecurrentCore) -> list[Attention]:
    return [part for part in core.bodies.modules() if isinstance(part, Attention)]


@given(
    causal=st.booleans(),
    padded=st.booleans(),
    qk_norm=st.booleans(),
    num_kv_heads=st.sampled_from([1, 2, 4]),
)
@torch.no_grad()
def test_weights_are_those_that_the_values_are_read_with(
    causal: bool, padded: bool, qk_norm: bool, num_kv_heads: int
) -> None:
    core = small_core(qk_norm=qk_norm, qk_bias=not qk_norm, num_kv_heads=num_kv_heads)
    x = torch.randn(2, 7, 16)
    padding = torch.arange(7) < torch.tensor([[7], [4]]) if padded else None
    seen = []

    def look(module, arguments) -> None:
        seen.append((module, *arguments))

    attention = layers(core)[0]
    hook = attention.register_forward_pre_hook(look)
    core(CoreInput(x, Attend(causal=causal, padding=padding)), LoopPlan(1), PositionNoise())
    hook.remove()
    module, h, context, slot = seen[0]
    weights = attention_weights(module, h, context)
    qkv = module.qkv(h)
    values = qkv.view(2, 7, -1, module.head_width).transpose(1, 2)[:, -num_kv_heads:]
    values = values.repeat_interleave(4 // num_kv_heads, dim=1)
    read = (weights @ values).transpose(1, 2).reshape(2, 7, 16)
    torch.testing.assert_close(read, module.mix(qkv, context, slot), rtol=1e-4, atol=1e-5)
    assert float(weights.sum(-1).min()) == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_attention_that_stays_has_not_moved() -> None:
    core = small_core()
    trace = AttentionTrace()
    with trace.watching(core.bodies):
        core(CoreInput(torch.randn(2, 7, 16), Attend()), LoopPlan(3), PositionNoise())
    assert sorted(trace.moved) == [1, 2]
    assert all(value > 0 for values in trace.moved.values() for value in values)
    still = AttentionTrace()
    for layer in layers(core):
        layer.qkv.weight.zero_()
    with still.watching(core.bodies):
        core(CoreInput(torch.randn(2, 7, 16), Attend()), LoopPlan(3), PositionNoise())
    assert all(value == 0 for values in still.moved.values() for value in values)
    assert all(value < 1e-6 for values in still.diversity.values() for value in values)

"""Blocks equal their equations: where norms stand, what a condition and a branch scale do."""

import pytest
import reference
import torch
from cores import preset, stir
from torch import nn

from loopverse.nn import (
    Attend,
    Block,
    Context,
    CoreConfig,
    Stack,
    SwiGLU,
    init_weights,
    rotary_angles,
)
from loopverse.nn.block import add


def context(length: int, cond: torch.Tensor | None = None) -> Context:
    cos, sin = rotary_angles(torch.arange(length)[None], 4, 10_000.0)
    return Context(cos, sin, True, cond=cond)


def block(branch_scale: float = 1.0, **changes: object) -> Block:
    torch.manual_seed(0)
    return stir(Block(preset("plain", **changes), branch_scale), 0.3)


def test_swiglu_equals_its_equation() -> None:
    module, x = stir(SwiGLU(8, 12)), torch.randn(2, 3, 8)
    gate, up = module.gate_up.weight[:12], module.gate_up.weight[12:]
    hidden = (x @ gate.T) * torch.sigmoid(x @ gate.T) * (x @ up.T)
    torch.testing.assert_close(module(x), hidden @ module.down.weight.T)


@pytest.mark.parametrize("norms", ["pre", "sandwich", "sandwich_sum"])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_norms_stand_before_after_the_branch_or_after_the_sum(norms: str, scale: float) -> None:
    module, x = block(scale, norms=norms), torch.randn(2, 4, 16)
    expected = reference.block(module, x, Attend(), norms=norms, scale=scale)
    torch.testing.assert_close(module(x, context(4), add, 0, 0), expected, atol=1e-5, rtol=1e-5)


def test_the_branch_joins_the_stream_as_the_injection_says() -> None:
    module, x = block(), torch.randn(2, 4, 16)
    settled = module(x, context(4), lambda h, g: h + 0 * g, 0, 0)
    assert torch.equal(settled, x)


def test_a_condition_shifts_scales_and_gates_each_sublayer() -> None:
    module, x, cond = block(conditioned=True), torch.randn(2, 4, 16), torch.randn(2, 16)
    h = x
    for around, branch in (
        (module.around_attention, lambda r: reference.attention(module.attention, r, Attend())),
        (module.around_feed_forward, lambda r: reference.feed_forward(module, r)),
    ):
        linear = around.modulation.linear
        activated = cond * torch.sigmoid(cond)
        shift, scale, gate = (activated @ linear.weight.T + linear.bias)[:, None].chunk(3, -1)
        read = reference.rms(h, around.read_norm.weight) * (1 + scale) + shift
        h = h + branch(read) * (1 + gate)
    ours = module(x, context(4, cond), add, 0, 0)
    torch.testing.assert_close(ours, h, atol=1e-5, rtol=1e-5)


def test_a_condition_starts_as_no_change() -> None:
    config = preset("plain", conditioned=True)
    module, x = Block(config), torch.randn(2, 4, 16)
    init_weights(module, 16, 4)
    some, other = (module(x, context(4, torch.randn(2, 16)), add, 0, 0) for _ in range(2))
    assert torch.equal(some, other)
    plain = Block(preset("plain"))
    plain.load_state_dict({k: v for k, v in module.state_dict().items() if "modulation" not in k})
    assert torch.equal(some, plain(x, context(4), add, 0, 0))


def test_a_stack_numbers_its_layers_from_the_first() -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, h, context, residual, layer, loop):
            seen.append((layer, loop))
            return h

    stack = Stack(preset("plain"), 0, first_layer=3)
    stack.blocks.extend([Spy(), Spy()])
    stack(torch.zeros(1, 1, 16), context(1), loop=2)
    assert seen == [(3, 2), (4, 2)]


def test_initial_matrices_have_the_deviation_of_their_source() -> None:
    config = CoreConfig(width=256, num_heads=4, injection=preset("plain").injection)
    module = Block(config)
    init_weights(module, 256, num_layers=8)
    deviation = (2 / (5 * 256)) ** 0.5
    for part in (module.attention.qkv, module.feed_forward.gate_up):
        assert part.weight.std().item() == pytest.approx(deviation, rel=0.02)
    for part in (module.attention.out, module.feed_forward.down):
        assert part.weight.std().item() == pytest.approx(deviation / 4, rel=0.02)

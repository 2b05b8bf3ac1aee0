"""Attention equals softmax(q k) v computed pair by pair, for every mask and every option."""

import pytest
import reference
import torch
from cores import stir
from hypothesis import given
from hypothesis import strategies as st
from strategies import attends, examples

from loopverse.nn import Attend, Attention, Context, KVCache, rotary_angles


def context(attend: Attend, length: int, cache: KVCache | None = None) -> Context:
    start = cache.length if cache else 0
    cos, sin = rotary_angles(torch.arange(start, start + length)[None], 4, 10_000.0)
    mask = attend.mask(length, cache.past if cache else 0)
    return Context(cos, sin, attend.causal, mask, cache=cache)


def build(num_kv_heads: int = 2, *, qk_norm: bool = False, qk_bias: bool = False) -> Attention:
    torch.manual_seed(0)
    return stir(Attention(16, 4, num_kv_heads, qk_norm=qk_norm, qk_bias=qk_bias), 0.5)


@examples(25)
@given(st.data())
def test_attention_equals_the_slow_way_under_every_mask(data: st.DataObject) -> None:
    rows, length = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 5))
    attend = data.draw(attends(rows, length))
    module = build(
        data.draw(st.sampled_from([1, 2, 4])),
        qk_norm=data.draw(st.booleans()),
        qk_bias=data.draw(st.booleans()),
    )
    x = torch.randn(rows, length, 16)
    ours = module(x, context(attend, length), (0, 0))
    torch.testing.assert_close(ours, reference.attention(module, x, attend), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_attention_over_a_cache_equals_the_slow_way_over_everything(
    causal: bool, padded: bool
) -> None:
    """Where attention is not causal, the earlier positions were read before the later ones came."""
    module, cache = build(), KVCache()
    x = torch.randn(2, 6, 16)
    present = torch.tensor([[False, False, True, True, True, True], [True] * 6])
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        attend = Attend(causal, present[:, start:stop] if padded else None)
        with torch.no_grad():
            ours = module(x[:, start:stop], context(attend, stop - start, cache), (0, 0))
        cache.commit(stop - start, attend.padding)
        whole = Attend(causal, present[:, :stop] if padded else None)
        slow = reference.attention(module, x[:, :stop], whole)[:, start:]
        torch.testing.assert_close(ours, slow, atol=1e-5, rtol=1e-5)


def test_grouped_queries_equal_repeated_heads() -> None:
    grouped, plain = build(2), build(4)
    width = grouped.head_width
    q, k, v = grouped.qkv.weight.detach().split([4 * width, 2 * width, 2 * width])
    repeated = [
        part.view(2, width, 16).repeat_interleave(2, dim=0).flatten(0, 1) for part in (k, v)
    ]
    with torch.no_grad():
        plain.qkv.weight.copy_(torch.cat([q, *repeated]))
        plain.out.weight.copy_(grouped.out.weight)
    x = torch.randn(2, 5, 16)
    around = context(Attend(), 5)
    torch.testing.assert_close(grouped(x, around, (0, 0)), plain(x, around, (0, 0)))


def test_what_is_masked_has_no_influence_at_all() -> None:
    module = build()
    present = torch.tensor([[True, False, True, True]])
    x = torch.randn(1, 4, 16)
    changed = x.clone()
    changed[:, 1] = 1e3
    around = context(Attend(False, present), 4)
    ours, others = module(x, around, (0, 0)), module(changed, around, (0, 0))
    assert torch.equal(ours[present], others[present])


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
def test_a_position_alone_has_the_gradient_it_has_beside_one_that_it_does_not_see(
    num_kv_heads: int,
) -> None:
    module = build(num_kv_heads)
    x = torch.randn(3, 1, 16)
    module(x, context(Attend(), 1), (0, 0)).sum().backward()
    alone = module.qkv.weight.grad
    module.zero_grad()
    both = module(x.expand(3, 2, 16), context(Attend(), 2), (0, 0))
    both[:, 0].sum().backward()  # causal: the first does not see the second
    torch.testing.assert_close(alone, module.qkv.weight.grad, atol=1e-4, rtol=1e-5)

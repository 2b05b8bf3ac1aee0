"""What the heads of the looped layers look at, loop by loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from loopverse.nn.attention import Attention
from loopverse.nn.context import Context
from loopverse.nn.rotary import rotate


def attention_weights(
    module: Attention, x: Float[Tensor, "b t d"], context: Context
) -> Float[Tensor, "b h t s"]:
    """How each head weighs what it may read, of whole rows without a cache; rows of the result add up to one."""
    batch, length, _ = x.shape
    heads = module.qkv(x).view(batch, length, -1, module.head_width).transpose(1, 2)
    counts = [module.num_heads, module.num_kv_heads, module.num_kv_heads]
    q, k, _ = heads.split(counts, dim=1)
    if module.q_bias is not None and module.k_bias is not None:
        q, k = q + module.q_bias.to(q.dtype), k + module.k_bias.to(k.dtype)
    q = rotate(module.q_norm(q), context.cos, context.sin)
    k = rotate(module.k_norm(k), context.cos, context.sin)
    k = k.repeat_interleave(module.num_heads // module.num_kv_heads, dim=1)
    logits = (q @ k.transpose(-1, -2)).float() * module.head_width**-0.5
    if context.mask is not None:
        mask = context.mask
        logits = (
            logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
        )
    elif context.causal:
        allowed = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        logits = logits.masked_fill(~allowed, -torch.inf)
    return logits.softmax(-1)


@dataclass
class AttentionTrace:
    """Attention of the looped layers, while the loops run.

    Attributes:
        moved: of each loop from the second on, `KL(A_i || A_{i-1})` in nats, a mean over layers, heads and
            places for each call.
        diversity: of each loop, how different the heads of a layer look, likewise: the mean total
            variation between two heads, 0 where all look at the same, at most 1.
    """

    moved: dict[int, list[float]] = field(default_factory=dict)
    diversity: dict[int, list[float]] = field(default_factory=dict)
    _last: dict[int, tuple[int, Tensor]] = field(default_factory=dict)

    @contextmanager
    def watching(self, looped: nn.Module) -> Iterator[None]:
        """Watch every attention layer below a module."""
        layers = [part for part in looped.modules() if isinstance(part, Attention)]
        hooks = [layer.register_forward_pre_hook(self._look) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def _look(self, module: nn.Module, arguments: tuple[Tensor, Context, tuple[int, int]]) -> None:
        assert isinstance(module, Attention)
        x, context, (layer, loop) = arguments
        if x.shape[1] == 1 or context.packing is not None or context.cache is not None:
            return
        weights = attention_weights(module, x, context)
        known = self._last.get(layer)
        self._last[layer] = loop, weights
        if module.num_heads > 1:
            self.diversity.setdefault(loop, []).append(_diversity(weights))
        if known is not None and known[0] == loop - 1 and known[1].shape == weights.shape:
            self.moved.setdefault(loop, []).append(_divergence(weights, known[1]))


def _divergence(p: Tensor, q: Tensor) -> float:
    tiny = torch.finfo(p.dtype).tiny
    return float((p * (p.clamp(min=tiny) / q.clamp(min=tiny)).log()).sum(-1).mean())


def _diversity(weights: Tensor) -> float:
    heads = weights.shape[1]
    apart = (weights[:, :, None] - weights[:, None]).abs().sum(-1) / 2  # [b h h t]
    return float(apart.mean()) * heads / (heads - 1)

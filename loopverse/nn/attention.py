"""Self-attention with grouped queries, rotary positions and a cache that knows of loops."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from loopverse.nn.cache import Slot
from loopverse.nn.context import Context
from loopverse.nn.norm import RMSNorm
from loopverse.nn.rotary import rotate


class Attention(nn.Module):
    """Grouped-query attention over `scaled_dot_product_attention`.

    Args:
        width: channels of the state.
        num_heads: query heads; must divide `width`.
        num_kv_heads: key and value heads; must divide `num_heads`.
        qk_norm: normalise queries and keys per head (Dehghani et al. 2023, 2302.05442).
        qk_bias: a learned bias on queries and keys (Huginn, 2502.05171).
    """

    def __init__(
        self, width: int, num_heads: int, num_kv_heads: int, *, qk_norm: bool, qk_bias: bool
    ) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.head_width = width // num_heads
        self.qkv = nn.Linear(width, (num_heads + 2 * num_kv_heads) * self.head_width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.q_norm = RMSNorm(self.head_width) if qk_norm else nn.Identity()
        self.k_norm = RMSNorm(self.head_width) if qk_norm else nn.Identity()
        self.q_bias = self.k_bias = None
        if qk_bias:
            self.q_bias = nn.Parameter(torch.zeros(num_heads, 1, self.head_width))
            self.k_bias = nn.Parameter(torch.zeros(num_kv_heads, 1, self.head_width))

    def forward(
        self, x: Float[Tensor, "b t d"], context: Context, slot: Slot
    ) -> Float[Tensor, "b t d"]:
        """Read `x` in the light of what `context` lets each position see."""
        if self._alone(x.shape[1], context):
            values = self.qkv.weight[-self.num_kv_heads * self.head_width :]
            return self.out(self._to_every_head(F.linear(x, values)))
        return self.out(self.mix(self.qkv(x), context, slot))

    def mix(
        self, qkv: Float[Tensor, "b t n"], context: Context, slot: Slot
    ) -> Float[Tensor, "b t d"]:
        """What the heads read, side by side, from queries, keys and values side by side."""
        batch, length, _ = qkv.shape
        if self._alone(length, context):
            return self._to_every_head(qkv[..., -self.num_kv_heads * self.head_width :])
        heads = qkv.view(batch, length, -1, self.head_width).transpose(1, 2)  # [b n t h]
        q, k, v = heads.split([self.num_heads, self.num_kv_heads, self.num_kv_heads], dim=1)
        if self.q_bias is not None and self.k_bias is not None:
            q, k = q + self.q_bias.to(q.dtype), k + self.k_bias.to(k.dtype)
        q = rotate(self.q_norm(q), context.cos, context.sin)
        k = rotate(self.k_norm(k), context.cos, context.sin)
        if context.at is not None:
            return context.at.read(slot, q, k, v)
        k, v = context.keys(slot, k, v)
        if context.packing is not None:
            return context.packing.read(q, k, v, context.mask, context.causal)
        read = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=context.mask,
            is_causal=context.causal and context.mask is None and length > 1,
            enable_gqa=self.num_heads != self.num_kv_heads,
        )
        return read.transpose(1, 2).reshape(batch, length, -1)

    def sees_itself_alone(self, length: int, past: int = 0) -> bool:
        """Whether a position has only itself to read, whatever it is weighed by: one state per row.

        Not where queries and keys have parameters of their own: those must get their zero gradient.
        """
        learned = self.q_bias is not None or isinstance(self.q_norm, RMSNorm)
        return length == 1 and past == 0 and not learned

    def _alone(self, length: int, context: Context) -> bool:
        alone = context.cache is None and context.own is None and context.at is None
        return alone and self.sees_itself_alone(length)

    def _to_every_head(self, v: Float[Tensor, "b t n"]) -> Float[Tensor, "b t d"]:
        """The values, once for every query head that reads them."""
        times = self.num_heads // self.num_kv_heads
        if times == 1:
            return v
        heads = v.unflatten(-1, (self.num_kv_heads, self.head_width))
        return heads.repeat_interleave(times, dim=2).flatten(2)

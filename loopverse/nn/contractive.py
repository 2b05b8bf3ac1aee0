"""The looped layers with a known Lipschitz constant, of at most one."""

import math
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from loopverse.nn.attention import Attention
from loopverse.nn.block import SwiGLU
from loopverse.nn.config import CoreConfig
from loopverse.nn.context import Context
from loopverse.nn.lipschitz import hold, nonexpanding
from loopverse.nn.reuse import computed_once


class Rescaled(NamedTuple):
    """The matrices of a block as a loop uses them, with all constants multiplied in.

    Attributes:
        qkv, out: of the attention.
        gate_up, down: of the feed-forward.
        kept: what the two sublayers keep of the stream, `1 - b`.
    """

    qkv: Float[Tensor, "n d"]
    out: Float[Tensor, "d d"]
    gate_up: Float[Tensor, "m d"]
    down: Float[Tensor, "d k"]
    kept: Float[Tensor, " 2"]


class ContractiveBlock(nn.Module):
    """Attention, then feed-forward: `h <- (1 - b) h + b g(h)`, each `g` 1-Lipschitz, `b` in (0, 1).

    Then each sublayer is 1-Lipschitz too: `1 - b + b = 1`. The matrices have the names and shapes that
    they have in `Block`; each is used over a bound of its norm, so below no matrix stretches anything.

    Feed-forward is `W_down max(W_gate h, W_up h)`: the larger one of two numbers changes by no more than
    the pair does (Goodfellow et al. 2013, 1302.4389). A product of the two, as in SwiGLU, would have a
    constant that grows with the number of hidden channels or the size of `h`.

    Attention reads tokens `x` held on a ball of radius `r = sqrt(d)`, where a norm would put them. Its
    logits are `s_ij = k (q_i k_j) / r^2`, with the learned sharpness `k`. With up to `t` tokens and `m`
    query heads that share a key head, its branch is divided by

        L = sqrt(mt) + k (1 + sqrt(mt)),   and for t = 1 by L = sqrt(m).

    Let the tokens move by `dx`. What a head reads at token `i`, `sum_j p_ij v_j`, moves by two parts:

    - `sum_j p_ij dv_j`, whose square is at most `sum_j p_ij |dv_j|^2` by Jensen, as `p_i` sums to one. In
      the sum over all `i`, each `|dv_j|^2` has a weight of at most `t`, and `m` heads read it:
      `sqrt(mt) ||dx||`.
    - `sum_j dp_ij v_j`, the covariance under `p_i` of `v_j` and of `ds_ij = k (dq_i k_j + q_i dk_j) / r^2`.
      It is at most the product of their deviations, for which `|v_j|, |k_j|, |q_i| <= r`:
      `r (k/r^2) (r |dq_i| + r (sum_j p_ij |dk_j|^2)^(1/2))`. Over all `i` and heads, as before:
      `k (1 + sqrt(mt)) ||dx||`. Over one token nothing varies, and the part is zero.

    Rotary angles turn queries and keys and change no length. A mask makes some `p_ij` zero. Earlier
    keys of a cache do not move. A bound of the derivative everywhere on a convex set, as the balls
    are, is a Lipschitz constant. Castin et al. 2023 (2312.14820) show that `sqrt(t)` cannot be avoided.
    """

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        tokens = config.injection.certified_tokens
        assert tokens is not None
        self.attention = Attention(
            config.width, config.num_heads, config.kv_heads, qk_norm=False, qk_bias=False
        )
        self.feed_forward = SwiGLU(config.width, config.hidden)
        self.share = nn.Parameter(torch.zeros(2))  # b = 1/2 after the sigmoid
        self.sharpness = nn.Parameter(
            torch.tensor(math.log(math.e - 1))
        )  # k = 1 after the softplus
        self.radius = config.width**0.5
        self.tokens = tokens

    def forward(
        self,
        h: Float[Tensor, "b t d"],
        context: Context,
        weights: Rescaled,
        layer: int,
        loop: int | Tensor,
    ) -> Float[Tensor, "b t d"]:
        heads = F.linear(hold(h, self.radius), weights.qkv)
        read = self.attention.mix(heads, context, (layer, loop))
        h = weights.kept[0] * h + F.linear(read, weights.out)
        gate, up = F.linear(h, weights.gate_up).chunk(2, dim=-1)
        return weights.kept[1] * h + F.linear(torch.maximum(gate, up), weights.down)

    def matrices(self) -> list[Tensor]:
        """Queries, keys, values, output, gate and value, down: as they are."""
        attention, hidden = self.attention, self.feed_forward
        heads, kv_heads = attention.num_heads, attention.num_kv_heads
        sizes = [n * attention.head_width for n in (heads, kv_heads, kv_heads)]
        ends = (attention.out.weight, hidden.gate_up.weight, hidden.down.weight)
        return [*attention.qkv.weight.split(sizes), *ends]

    def rescaled(
        self, q: Tensor, k: Tensor, v: Tensor, out: Tensor, gate_up: Tensor, down: Tensor
    ) -> Rescaled:
        """The matrices for the loop, from those that stretch nothing."""
        share, sharpness = torch.sigmoid(self.share), F.softplus(self.sharpness)
        logits = sharpness * self.attention.head_width**0.5 / self.radius**2  # over sqrt(h) later
        constant = (self.attention.num_heads // self.attention.num_kv_heads * self.tokens) ** 0.5
        varied = sharpness * (1 + constant) if self.tokens > 1 else 0.0
        return Rescaled(
            qkv=torch.cat([logits * q, k, v]),
            out=share[0] / (constant + varied) * out,
            gate_up=gate_up,
            down=share[1] * down,
            kept=1 - share,
        )


class ContractiveStack(nn.Module):
    """The branches of consecutive blocks: `S(h) = h_n - c h`, with `c` what all of them keep of `h`.

    `S` has the Lipschitz constant `1 - c`: the stream is a sum of `h` and of all `g`, 1-Lipschitz in
    `h` as compositions of such maps, with weights that sum to one, and that of `h` is `c`.
    """

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ContractiveBlock(config) for _ in range(config.num_loop))
        self.first_layer = config.num_prelude

    def forward(
        self,
        h: Float[Tensor, "b t d"],
        context: Context,
        weights: list[Rescaled],
        loop: int | Tensor = 0,
    ) -> Float[Tensor, "b t d"]:
        start, kept = h, 1.0
        for offset, (block, matrices) in enumerate(zip(self.blocks, weights, strict=True)):
            h = block(h, context, matrices, self.first_layer + offset, loop)
            kept = kept * matrices.kept.prod()
        return h - kept * start

    def rescaled(self) -> list[Rescaled]:
        """The matrices of every block, for all loops of a call: see `loopverse.nn.reuse_weights`."""
        return computed_once(self, self._rescaled)

    def certified_gain(self) -> float:
        """The constant of the class's docstring."""
        with torch.no_grad():
            shares = torch.cat([block.share for block in self._typed()]).double()
            return 1 - float(torch.sigmoid(-shares).prod())

    def _typed(self) -> list[ContractiveBlock]:
        return cast(list[ContractiveBlock], list(self.blocks))

    def _rescaled(self) -> list[Rescaled]:
        """In the precision of the parameters, then in that of the matrix products."""
        blocks = self._typed()
        device = blocks[0].share.device.type
        with torch.autocast(device, enabled=False):
            raw = [matrix for block in blocks for matrix in block.matrices()]
            unit = nonexpanding(raw)
            count = len(unit) // len(blocks)
            found = [b.rescaled(*unit[i * count :][:count]) for i, b in enumerate(blocks)]
        if not torch.is_autocast_enabled(device):
            return found
        dtype = torch.get_autocast_dtype(device)
        return [Rescaled(*(matrix.to(dtype) for matrix in block)) for block in found]

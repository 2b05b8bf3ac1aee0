"""The looped layers with a known Lipschitz constant, of at most one."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from loopverse.nn.attention import Attention
from loopverse.nn.block import SwiGLU
from loopverse.nn.config import CoreConfig
from loopverse.nn.context import Context
from loopverse.nn.lipschitz import STEEPEST_SILU, hold, hold_pairs, nonexpanding
from loopverse.nn.reuse import computed_once

PAIR_RADIUS = 2.0
"""Where the pairs of gate and value of the feed-forward are held."""


class Rescaled(NamedTuple):
    """The matrices of a block as a loop uses them, all constants multiplied in.

    Attributes:
        qkv, out: of the attention.
        gate_up, down: of the feed-forward.
        kept: what the two sublayers keep of the stream, `1 - b`.
    """

    qkv: Float[Tensor, "n d"]
    out: Float[Tensor, "d d"]
    gate_up: Float[Tensor, "m d"]
    down: Float[Tensor, "d m"]
    kept: Float[Tensor, " 2"]


class ContractiveBlock(nn.Module):
    """Attention, then feed-forward: `h <- (1 - b) h + b g(h)`, each `g` 1-Lipschitz, `b` in (0, 1).

    The matrices have the names that they have in `Block`, and are used over a bound of their largest
    singular value (`nonexpanding`), so below `|Q| = |K| = |V| = |O| = 1`, and likewise for the others.

    Attention
        reads tokens held on a ball of radius `r = sqrt(d)`, where a norm would put them; its logits are
        `k (Qx_i)(Kx_j) / r^2`, with the learned sharpness `k`. With up to `t` tokens and `m` query heads
        for each key head, the constant is

            L = sqrt(m t) + k (1 + sqrt(m t)),   and sqrt(m) for t = 1.

        Let the tokens move by `dx`. A head reads `sum_j p_ij v_j`, which changes by two parts. First
        by `sum_j p_ij dv_j`: each row of `p` sums to one, so by Jensen its square over all queries `i`
        is at most `sum_ij p_ij |dv_j|^2`, and a column of `p` sums to at most `t`; `m` heads read the
        same `v_j`: `sqrt(m t) |dx|`. Second by `sum_j dp_ij v_j`, the covariance under `p_i` of
        `v` and of the change `ds_i` of the logits: at most `r` times the deviation of
        `ds_ij = (k/r^2) (dq_i k_j + q_i dk_j)`, that is `(k/r) (r |dq_i| + r (sum_j p_ij |dk_j|^2)^(1/2))
        / r`, and again over all queries and heads: `k (1 + sqrt(m t)) |dx|`. With one token there is
        nothing to choose from, and the second part is zero. Rotary angles are rotations. A mask takes
        keys away, which `t` allows for, and earlier keys of a cache do not move. The ball is convex, so
        a bound of the derivative in it is a constant of the map.
    Feed-forward
        is `W_down (silu(u) v)` of the pairs `(u, v) = c [W_gate; W_up] h`, with a learned scale `c`,
        each pair held on a disc of radius `a`: a ball for all of them would cost a factor of
        `sqrt(hidden)`. Within the disc the gradient of `silu(u) v` is at most
        `((1.1 v)^2 + u^2)^(1/2) <= 1.1 a`, and pairs do not mix before `W_down`: `L = 1.1 a c`.

    Sums of maps with weights that sum to one have the constant one: `1 - b + b = 1`.
    """

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        tokens = config.injection.certified_tokens
        assert tokens is not None
        self.attention = Attention(
            config.width, config.num_heads, config.kv_heads, qk_norm=False, qk_bias=False
        )
        self.feed_forward = SwiGLU(config.width, config.hidden)
        share = 1 / (config.num_loop + 1)
        self.share = nn.Parameter(torch.full((2,), math.log(share / (1 - share))))
        self.sharpness = nn.Parameter(torch.tensor(_inverse_softplus(1.0)))
        self.fill = nn.Parameter(torch.tensor(_inverse_softplus(PAIR_RADIUS)))
        self.radius = config.width**0.5
        self.readers = config.num_heads // config.kv_heads * tokens
        self.one_token = tokens == 1

    def forward(
        self,
        h: Float[Tensor, "b t d"],
        context: Context,
        weights: Rescaled,
        layer: int,
        loop: int,
    ) -> Float[Tensor, "b t d"]:
        heads = F.linear(hold(h, self.radius), weights.qkv)
        read = self.attention.mix(heads, context, (layer, loop))
        h = weights.kept[0] * h + F.linear(read, weights.out)
        gate, up = F.linear(h, weights.gate_up).chunk(2, dim=-1)
        gate, up = hold_pairs(gate, up, PAIR_RADIUS)
        return weights.kept[1] * h + F.linear(F.silu(gate) * up, weights.down)

    def rescaled(self) -> Rescaled:
        """The matrices, with every constant of the class's docstring multiplied in."""
        attention, forward = self.attention, self.feed_forward
        parts = [n * attention.head_width for n in (attention.num_heads, attention.num_kv_heads)]
        q, k, v = attention.qkv.weight.split([*parts, parts[1]])
        share, sharpness = torch.sigmoid(self.share), F.softplus(self.sharpness)
        logits = (
            sharpness * attention.head_width**0.5 / self.radius**2
        )  # the kernel divides by sqrt(h)
        constant = self.readers**0.5
        if not self.one_token:
            constant = constant + sharpness * (1 + constant)
        # At a radius of sqrt(d) all pairs together have the norm c sqrt(d), if no channel is lost.
        scale = (
            F.softplus(self.fill) * (forward.down.in_features / forward.down.out_features) ** 0.5
        )
        return Rescaled(
            qkv=torch.cat([logits * nonexpanding(q), nonexpanding(k), nonexpanding(v)]),
            out=share[0] / constant * nonexpanding(attention.out.weight),
            gate_up=scale * nonexpanding(forward.gate_up.weight),
            down=share[1]
            / (STEEPEST_SILU * PAIR_RADIUS * scale)
            * nonexpanding(forward.down.weight),
            kept=1 - share,
        )


class ContractiveStack(nn.Module):
    """The branches of consecutive blocks: `S(h) = h_n - c h`, with `c` what all of them keep of `h`.

    `S` has the Lipschitz constant `1 - c`: with `h <- (1 - b) h + b g(h)` in every sublayer, `S` is the
    sum of all `g`, each of which is 1-Lipschitz in `h`, with weights that sum to `1 - c`.
    """

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ContractiveBlock(config) for _ in range(config.num_loop))
        self.first_layer = config.num_prelude

    def forward(
        self, h: Float[Tensor, "b t d"], context: Context, weights: list[Rescaled], loop: int = 0
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
            shares = torch.stack([block.share for block in self._typed()]).double()
            return 1 - float(torch.sigmoid(-shares).prod())

    def _typed(self) -> list[ContractiveBlock]:
        return [block for block in self.blocks if isinstance(block, ContractiveBlock)]

    def _rescaled(self) -> list[Rescaled]:
        """In the precision of the parameters, then in that of the matrix products."""
        device = next(self.parameters()).device.type
        with torch.autocast(device, enabled=False):
            found = [block.rescaled() for block in self._typed()]
        if not torch.is_autocast_enabled(device):
            return found
        dtype = torch.get_autocast_dtype(device)
        return [Rescaled(*(matrix.to(dtype) for matrix in block)) for block in found]


def _inverse_softplus(value: float) -> float:
    return math.log(math.expm1(value))

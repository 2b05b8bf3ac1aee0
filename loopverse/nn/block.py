"""Transformer blocks, and stacks of them."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from loopverse.nn.attention import Attention
from loopverse.nn.config import CoreConfig
from loopverse.nn.context import Context
from loopverse.nn.norm import RMSNorm

Residual = Callable[[Tensor, Tensor], Tensor]
"""How a branch joins the stream: (stream, branch) -> stream."""


def add(stream: Tensor, branch: Tensor) -> Tensor:
    """The ordinary residual connection."""
    return stream + branch


class SwiGLU(nn.Module):
    """`W_down (silu(W_gate x) * W_up x)`, gate and up in one matrix (Shazeer 2020, 2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Modulation(nn.Module):
    """Shift, scale and gate of a sublayer from a condition; starts as no change.

    Source: adaLN-Zero of DiT (Peebles & Xie 2022, 2212.09748), with gates around one, so that a
    model with a condition starts as the model without.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 3 * width)
        self.reset()

    def reset(self) -> None:
        """Back to no change."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(
        self, cond: Float[Tensor, "b d"] | Float[Tensor, "1 n d"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_units = cond if cond.ndim == 3 else cond[:, None]
        shift, scale, gate = self.linear(F.silu(of_units)).chunk(3, dim=-1)
        return shift, 1 + scale, 1 + gate


class Sublayer(nn.Module):
    """The norms, modulation and residual connection around attention or feed-forward.

    `h <- sum_norm(residual(h, branch_norm(branch(read_norm(h)))))`; `CoreConfig.norms` says which
    of the three norms exist.
    """

    def __init__(self, config: CoreConfig, branch_scale: float) -> None:
        super().__init__()
        self.read_norm = RMSNorm(config.width)
        self.branch_norm = RMSNorm(config.width) if config.norms == "sandwich" else nn.Identity()
        self.sum_norm = RMSNorm(config.width) if config.norms == "sandwich_sum" else nn.Identity()
        self.modulation = Modulation(config.width) if config.conditioned else None
        self.branch_scale = branch_scale

    def forward(
        self, h: Tensor, branch: Callable[[Tensor], Tensor], residual: Residual, context: Context
    ) -> Tensor:
        if self.modulation is None:
            change = self.branch_norm(branch(self.read_norm(h)))
        else:
            assert context.cond is not None  # the core refuses a missing condition
            shift, scale, gate = self.modulation(context.cond)
            change = self.branch_norm(branch(self.read_norm(h) * scale + shift)) * gate
        if self.branch_scale != 1.0:
            change = change * self.branch_scale
        return self.sum_norm(residual(h, change))


class Block(nn.Module):
    """Attention, then feed-forward, each within a `Sublayer`."""

    def __init__(self, config: CoreConfig, branch_scale: float = 1.0) -> None:
        super().__init__()
        self.attention = Attention(
            config.width,
            config.num_heads,
            config.kv_heads,
            qk_norm=config.qk_norm,
            qk_bias=config.qk_bias,
        )
        self.around_attention = Sublayer(config, branch_scale)
        self.feed_forward = SwiGLU(config.width, config.hidden)
        self.around_feed_forward = Sublayer(config, branch_scale)

    def forward(
        self,
        h: Float[Tensor, "b t d"],
        context: Context,
        residual: Residual,
        layer: int,
        loop: int | Tensor,
    ) -> Float[Tensor, "b t d"]:
        h = self.around_attention(
            h, lambda x: self.attention(x, context, (layer, loop)), residual, context
        )
        return self.around_feed_forward(h, self.feed_forward, residual, context)


class Stack(nn.Module):
    """Consecutive blocks; `first_layer` is the number of the first one within the whole core."""

    def __init__(
        self, config: CoreConfig, num_blocks: int, first_layer: int, branch_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config, branch_scale) for _ in range(num_blocks))
        self.first_layer = first_layer

    def forward(
        self,
        h: Float[Tensor, "b t d"],
        context: Context,
        residual: Residual = add,
        loop: int | Tensor = 0,
    ) -> Float[Tensor, "b t d"]:
        for offset, block in enumerate(self.blocks):
            h = block(h, context, residual, self.first_layer + offset, loop)
        return h


def init_weights(module: nn.Module, width: int, num_layers: int) -> None:
    """Draw all matrices of a core from the global generator.

    Normal with variance 2/(5d); matrices that write to the stream are smaller by
    `1/sqrt(2 num_layers)`. Source: Huginn (2502.05171, section 3.2), after Takase et al. 2023.

    Args:
        module: what to initialise.
        width: channels `d` of the stream.
        num_layers: layers that a unit passes, loops counted.
    """
    deviation = (2 / (5 * width)) ** 0.5
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            writes = name.endswith(("attention.out", "feed_forward.down"))
            nn.init.normal_(
                part.weight, std=deviation * ((2 * num_layers) ** -0.5 if writes else 1.0)
            )
    for part in module.modules():  # after the matrices, of which these have some
        if isinstance(part, Modulation):
            part.reset()

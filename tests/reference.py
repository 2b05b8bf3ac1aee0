"""The equations of a transformer, written the slow way: one pair of positions at a time."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from loopverse.nn import Attend, Attention, Block


def allowed_by(attend: Attend, num_rows: int, length: int) -> list[list[list[bool]]]:
    """Whether row `b`'s position `t` may read position `s`: the definition, word by word."""

    def may(row: int, query: int, key: int) -> bool:
        if query == key:
            return True
        if attend.causal and key > query:
            return False
        if attend.padding is not None and not attend.padding[row, key]:
            return False
        documents = attend.segments
        return documents is None or bool(documents[row, query] == documents[row, key])

    return [
        [[may(row, query, key) for key in range(length)] for query in range(length)]
        for row in range(num_rows)
    ]


def rms(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def turn(x: Tensor, position: float, base: float) -> Tensor:
    """Rotary positions of one head `[h]`: channels `c` and `c + h/2` are one complex number."""
    half = len(x) // 2
    angles = torch.tensor([position * base ** (-2 * c / len(x)) for c in range(half)])
    turned = torch.complex(x[:half], x[half:]) * torch.polar(torch.ones(half), angles).to(
        torch.complex64 if x.dtype == torch.float32 else torch.complex128
    )
    return torch.cat([turned.real, turned.imag])


def attention(
    module: Attention, x: Tensor, attend: Attend, *, base: float = 10_000.0, start: int = 0
) -> Tensor:
    """What `module` makes of `x [b t d]`, position by position and head by head."""
    batch, length, _ = x.shape
    allowed = allowed_by(attend, batch, length)
    heads, kv_heads = module.num_heads, module.num_kv_heads
    q, k, v = (x @ module.qkv.weight.T).split(
        [n * module.head_width for n in (heads, kv_heads, kv_heads)], dim=-1
    )
    rows = []
    for b in range(batch):
        for t in range(length):
            reads = []
            for n in range(heads):
                shared = n // (heads // kv_heads)
                query = _head(module, "q", q[b, t], n, start + t, base)
                keys = [s for s in range(length) if allowed[b][t][s]]
                scores = torch.stack(
                    [query @ _head(module, "k", k[b, s], shared, start + s, base) for s in keys]
                ) / math.sqrt(module.head_width)
                values = v[b].view(length, kv_heads, -1)[:, shared]
                reads.append(scores.softmax(0) @ values[keys])
            rows.append(torch.cat(reads))
    return torch.stack(rows).view(batch, length, -1) @ module.out.weight.T


def _head(module: Attention, kind: str, x: Tensor, number: int, at: int, base: float) -> Tensor:
    head = x.view(-1, module.head_width)[number]
    bias, norm = getattr(module, f"{kind}_bias"), getattr(module, f"{kind}_norm")
    if bias is not None:
        head = head + bias[number, 0]
    if list(norm.parameters()):
        head = rms(head, norm.weight)
    return turn(head, at, base)


def feed_forward(block: Block, x: Tensor) -> Tensor:
    gate, up = (x @ block.feed_forward.gate_up.weight.T).chunk(2, -1)
    return (gate / (1 + torch.exp(-gate)) * up) @ block.feed_forward.down.weight.T


def block(
    module: Block,
    h: Tensor,
    attend: Attend,
    *,
    norms: str = "pre",
    scale: float = 1.0,
    join: Callable[[Tensor, Tensor], Tensor] = torch.add,
    base: float = 10_000.0,
) -> Tensor:
    """What `module` makes of `h [b t d]`: norm, branch, norm, sum, norm; twice."""
    for around, branch in (
        (module.around_attention, lambda x: attention(module.attention, x, attend, base=base)),
        (module.around_feed_forward, lambda x: feed_forward(module, x)),
    ):
        g = branch(rms(h, around.read_norm.weight))
        if norms == "sandwich":
            g = rms(g, around.branch_norm.weight)
        h = join(h, scale * g)
        if norms == "sandwich_sum":
            h = rms(h, around.sum_norm.weight)
    return h


def stack(blocks: Iterable[Block], h: Tensor, attend: Attend, **settings: Any) -> Tensor:
    for module in blocks:
        h = block(module, h, attend, **settings)
    return h

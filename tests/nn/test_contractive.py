"""The constants of the certified sublayers are met, or nearly, where they are largest: not exceeded."""

import pytest
import torch
from nn.bounded import WIDTH, bounded
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from loopverse.nn import ContractiveBlock
from loopverse.nn.context import Context
from loopverse.nn.lipschitz import nonexpanding

EYE = torch.eye(WIDTH, dtype=torch.float64)
RADIUS = WIDTH**0.5


def alone(
    sublayer: int, tokens: int, num_heads: int = 1, sharpness: float = -40.0
) -> ContractiveBlock:
    """A block of which one sublayer is left: it keeps nothing of the stream, the other changes nothing.

    All heads share their keys and values.
    """
    core = bounded(tokens=tokens, num_loop=1, num_heads=num_heads, num_kv_heads=1)
    block = core.get_submodule("bodies.0.layers.blocks.0")
    assert isinstance(block, ContractiveBlock)
    with torch.no_grad():
        block.share.fill_(-40.0)[sublayer] = 40.0
        block.sharpness.fill_(sharpness)
    return block


def gain(block: ContractiveBlock, x: Tensor, readable: list[int]) -> float:
    """The largest singular value of the dense Jacobian at `x [t d]`; all read the same positions."""
    x = x[None]
    mask = torch.zeros(1, 1, x.shape[1], x.shape[1], dtype=torch.bool)
    mask[..., readable] = True
    angle = x.new_zeros(1, 1, x.shape[1], block.attention.head_width)
    context = Context(angle.cos(), angle.sin(), False, mask)
    with torch.no_grad():
        weights = block.rescaled(*nonexpanding(block.matrices()))
    with sdpa_kernel(SDPBackend.MATH):
        jacobian = torch.autograd.functional.jacobian(lambda x: block(x, context, weights, 0, 0), x)
    return float(torch.linalg.matrix_norm(jacobian.view(x.numel(), x.numel()), 2))


@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_attention_that_copies_one_token_to_all_meets_its_constant(
    tokens: int, num_heads: int
) -> None:
    """`sqrt(m t)`: every position reads the first one alone, and every head the same of it."""
    block = alone(0, tokens, num_heads)
    head = EYE[: WIDTH // num_heads]
    with torch.no_grad():
        block.attention.qkv.weight[-len(head) :] = head
        block.attention.out.weight.zero_()
        block.attention.out.weight[: len(head)] = torch.cat(
            [head[:, : len(head)]] * num_heads, dim=1
        )
    assert 0.9 < gain(block, torch.ones(tokens, WIDTH).double() / 10, [0]) <= 1


def test_attention_whose_keys_move_all_choices_at_once_comes_near_its_constant() -> None:
    """`k sqrt(t)`: all positions waver between two opposite tokens, which turn towards the queries."""
    tokens, sharpness = 16, 100.0
    block = alone(0, tokens, sharpness=sharpness)
    queries = torch.zeros_like(EYE)
    queries[1, 1] = 1
    with torch.no_grad():
        block.attention.qkv.weight.copy_(torch.cat([queries, EYE, EYE]))
        block.attention.out.weight.copy_(EYE)
    x = 0.999 * RADIUS * EYE[1].repeat(tokens, 1)  # what asks
    x[0], x[1] = 0.999 * RADIUS * EYE[0], -0.999 * RADIUS * EYE[0]  # what is read
    found = gain(block, x, [0, 1])
    half = (0.5 * (tokens - 2)) ** 0.5 / (1 + tokens**0.5)
    assert 0.85 * half < found <= 1


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_feed_forward_meets_its_constant_at_any_size_of_the_stream(size: float) -> None:
    block = alone(1, 1)
    with torch.no_grad():
        for matrix in (block.feed_forward.gate_up.weight, block.feed_forward.down.weight):
            matrix.zero_()
            matrix[:WIDTH, :WIDTH] = EYE
    assert 0.9 < gain(block, size * torch.ones(1, WIDTH).double(), [0]) <= 1

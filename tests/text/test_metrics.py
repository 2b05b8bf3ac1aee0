"""Bits per byte: additive over batches, processes and tokenisers."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from loopverse.text import BitsPerByte

tokens = st.lists(st.tuples(st.floats(0, 20, width=32), st.integers(1, 9)), min_size=1, max_size=30)


def measured(pairs: list[tuple[float, int]]) -> BitsPerByte:
    metric = BitsPerByte()
    nats, sizes = zip(*pairs, strict=True)
    metric.update(torch.tensor(nats), torch.tensor(sizes))
    return metric


@given(tokens)
def test_it_is_the_code_length_in_bits_over_the_length_in_bytes(pairs) -> None:
    expected = sum(nats for nats, _ in pairs) / math.log(2) / sum(size for _, size in pairs)
    assert math.isclose(float(measured(pairs).compute()), expected, rel_tol=1e-4, abs_tol=1e-6)


@given(tokens, tokens)
def test_batches_and_processes_add_up(first, second) -> None:
    whole = measured(first + second).compute()
    in_batches = measured(first)
    nats, sizes = zip(*second, strict=True)
    in_batches.update(torch.tensor(nats), torch.tensor(sizes))
    assert torch.allclose(in_batches.compute(), whole, rtol=1e-4)
    ranks, gathered = (measured(first), measured(second)), BitsPerByte()
    for name, reduce in gathered._reductions.items():
        assert callable(reduce)
        setattr(gathered, name, reduce(torch.stack([getattr(rank, name) for rank in ranks])))
    gathered._update_count = 1
    assert torch.allclose(gathered.compute(), whole, rtol=1e-4)


def test_a_uniform_guess_over_bytes_costs_eight_bits() -> None:
    assert math.isclose(float(measured([(math.log(256), 1)] * 5).compute()), 8, rel_tol=1e-6)


def test_one_token_of_many_bytes_costs_less_per_byte() -> None:
    assert math.isclose(float(measured([(math.log(256), 4)]).compute()), 2, rel_tol=1e-6)

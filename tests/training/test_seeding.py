"""Randomness follows from its address alone."""

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from loopverse.training.seeding import derive, seed_everything, stream

addresses = st.tuples(st.integers(0, 2**31), st.integers(0, 2**31), st.text(max_size=8))


@given(addresses, addresses)
def test_two_addresses_share_a_seed_only_if_they_are_the_same(
    one: tuple[int, int, str], other: tuple[int, int, str]
) -> None:
    assert (derive(*one) == derive(*other)) == (one == other)


def test_the_digits_of_an_address_cannot_move_between_its_parts() -> None:
    assert derive(1, 23, "x") != derive(12, 3, "x")


@given(addresses)
def test_a_stream_draws_the_same_whatever_was_drawn_before(address: tuple[int, int, str]) -> None:
    first = torch.rand(3, generator=stream(*address))
    torch.rand(7)
    assert torch.equal(first, torch.rand(3, generator=stream(*address)))


def test_seed_everything_reaches_python_numpy_and_torch() -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    seed_everything(0, 5)
    first = draws()
    seed_everything(0, 6)
    other = draws()
    seed_everything(0, 5)
    assert draws() == first
    assert all(a != b for a, b in zip(first, other, strict=True))

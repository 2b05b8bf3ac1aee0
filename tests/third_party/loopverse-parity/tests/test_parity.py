"""The parity domain keeps the contract and counts correctly."""

import pytest
import torch
from loopverse_parity import Parity, ParityConfig

from loopverse.testing import Check, domain_checks


@pytest.mark.parametrize("check", domain_checks())
def test_parity_keeps_the_contract(check: Check) -> None:
    check(Parity, ParityConfig(length=8, noise=0.1))


def test_an_answer_is_the_parity_of_all_bits_so_far() -> None:
    batch = next(Parity(ParityConfig(), 8).batches("train", batch_size=64, seed=0))
    odd = torch.zeros(64)
    for place in range(16):
        odd = (odd + batch["bits"][:, place]) % 2
        assert torch.equal(batch["odd"][:, place], odd)


@pytest.mark.parametrize(("split", "share"), [("train", 0.0), ("valid", 1.0)])
def test_rows_that_begin_with_101_are_held_out(split: str, share: float) -> None:
    batch = next(Parity(ParityConfig(), 8).batches(split, batch_size=64, seed=0))
    begins = (batch["bits"][:, :3] == torch.tensor([1, 0, 1])).all(1)
    assert begins.float().mean() == share

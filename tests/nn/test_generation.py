"""Reading in pieces through a cache gives what reading at once gives, for any batch of prompts."""

from dataclasses import dataclass, replace

import pytest
import torch
from cores import CORES, small_core
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor

from loopverse.depth import LoopPlan
from loopverse.nn import Attend, CoreInput, KVCache, PositionNoise, RecurrentCore

READY = {name: small_core(name).requires_grad_(False) for name in CORES}
NOISE = PositionNoise(1)


@dataclass
class Batch:
    """Rows of different lengths, padded on the left, and what each gives alone."""

    x: Tensor
    num_padding: Tensor
    counted: bool = True
    """Whether positions are given, or left to the core."""

    @property
    def present(self) -> Tensor:
        return torch.arange(self.x.shape[1]) >= self.num_padding[:, None]

    @property
    def positions(self) -> Tensor:
        return (torch.arange(self.x.shape[1]) - self.num_padding[:, None]).clamp(min=0)

    def read(
        self, core: RecurrentCore, loops: int, start: int, stop: int, cache: KVCache | None
    ) -> Tensor:
        padding = self.present[:, start:stop]
        inputs = CoreInput(
            self.x[:, start:stop],
            Attend(True, padding if self.num_padding.any() else None),
            self.positions[:, start:stop] if self.counted else None,
            cache=cache,
        )
        return core(inputs, LoopPlan(loops), NOISE).readouts[-1]

    def alone(self, core: RecurrentCore, loops: int, row: int) -> Tensor:
        x = self.x[row : row + 1, self.num_padding[row] :]
        return core(CoreInput(x, Attend()), LoopPlan(loops), NOISE).readouts[-1][0]


def assert_equal_to_each_row_alone(
    batch: Batch, read: Tensor, core: RecurrentCore, loops: int
) -> None:
    for row, n in enumerate(batch.num_padding.tolist()):
        alone = batch.alone(core, loops, row)
        torch.testing.assert_close(read[row, n:], alone, atol=1e-5, rtol=1e-5)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    length = draw(st.integers(2, 9))
    paddings = draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=4))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    x = torch.randn(len(paddings), length, 16, generator=rng)
    return Batch(x, torch.tensor(paddings), draw(st.booleans()))


@pytest.mark.parametrize("name", CORES)
@examples(15)
@given(batch=batches(), loops=st.integers(1, 5))
def test_a_batch_equals_each_row_alone(name: str, batch: Batch, loops: int) -> None:
    read = batch.read(READY[name], loops, 0, batch.x.shape[1], None)
    assert_equal_to_each_row_alone(batch, read, READY[name], loops)


@pytest.mark.parametrize("name", CORES)
@examples(25)
@given(data=st.data(), batch=batches(), loops=st.integers(1, 5))
def test_reading_in_pieces_and_again_after_a_cut_equals_reading_at_once(
    name: str, data: st.DataObject, batch: Batch, loops: int
) -> None:
    core, cache, length = READY[name], KVCache(), batch.x.shape[1]
    read = torch.full_like(batch.x, torch.nan)
    num_cuts = data.draw(st.integers(0, 2))
    while cache.length < length:
        start = cache.length
        stop = data.draw(st.integers(start + 1, length))
        wrong = num_cuts > 0 and data.draw(st.booleans())
        if wrong:  # something else is read first, and cut off again
            num_cuts -= 1
            other = replace(batch, x=torch.randn_like(batch.x))
            other.read(core, loops, start, stop, cache)
            cache.crop(start)
        read[:, start:stop] = batch.read(core, loops, start, stop, cache)
    assert_equal_to_each_row_alone(batch, read, core, loops)


@pytest.mark.parametrize("name", CORES)
def test_rows_may_be_selected_and_repeated_on_the_way(name: str) -> None:
    core, cache = READY[name], KVCache()
    batch = Batch(torch.randn(3, 6, 16), torch.tensor([2, 0, 1]))
    batch.read(core, 3, 0, 4, cache)
    rows = torch.tensor([2, 0, 2])
    cache.select(rows)
    chosen = Batch(batch.x[rows], batch.num_padding[rows])
    read = chosen.read(core, 3, 4, 6, cache)
    for row, n in enumerate(chosen.num_padding.tolist()):
        alone = chosen.alone(core, 3, row)[4 - n :]
        torch.testing.assert_close(read[row], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CORES)
def test_more_loops_than_the_prompt_was_read_with_are_refused(name: str) -> None:
    core, cache = READY[name], KVCache()
    batch = Batch(torch.randn(1, 4, 16), torch.tensor([0]))
    batch.read(core, 2, 0, 3, cache)
    with pytest.raises(ValueError, match=r"keys for 0 of 3 positions in loop 3: .*fewer loops"):
        batch.read(core, 3, 3, 4, cache)
    read = batch.read(core, 2, 3, 4, cache)  # the refused call left no trace
    torch.testing.assert_close(read[0], batch.alone(core, 2, 0)[3:], atol=1e-5, rtol=1e-5)

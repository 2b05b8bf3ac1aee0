"""A cache holds a slot per layer and loop, grows, is cut, and refuses what would be wrong."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from loopverse.nn import KVCache


def new(length: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, length, 4)


@examples(40)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), min_size=1, max_size=12))
def test_a_cache_equals_a_tensor_that_is_extended_and_cut(moves: list[tuple[bool, int]]) -> None:
    cache, slots = KVCache(), [(0, 0), (1, 0), (1, 1)]
    expected = {slot: (new(0), new(0)) for slot in slots}
    for extends, amount in moves:
        if extends:
            for slot in slots:
                added = new(amount), new(amount)
                expected[slot] = tuple(
                    torch.cat(both, dim=2) for both in zip(expected[slot], added, strict=True)
                )
                for ours, whole in zip(cache.update(slot, *added), expected[slot], strict=True):
                    assert torch.equal(ours, whole)
            cache.commit(amount)
        else:
            kept = max(0, cache.length - amount)
            cache.crop(kept)
            expected = {
                slot: (keys[:, :, :kept], values[:, :, :kept])
                for slot, (keys, values) in expected.items()
            }
        assert cache.past == expected[0, 0][0].shape[2]


def test_padding_is_remembered_cut_and_selected_with_its_rows() -> None:
    cache = KVCache()
    first = torch.tensor([[False, True, True], [True, True, True]])
    cache.update((0, 0), new(3), new(3))
    cache.commit(3, first)
    cache.update((0, 0), new(2), new(2))
    cache.commit(2)
    expected = torch.cat([first, torch.ones(2, 2, dtype=torch.bool)], dim=1)
    assert torch.equal(cache.past, expected)
    cache.crop(4)
    cache.select(torch.tensor([1, 0, 0]))
    assert torch.equal(cache.past, expected[[1, 0, 0], :4])


def test_padding_that_comes_late_counts_the_earlier_positions_as_units() -> None:
    cache = KVCache()
    cache.commit(2)
    cache.commit(1, torch.tensor([[True], [False]]))
    assert cache.past.tolist() == [[True, True, True], [True, True, False]]


def test_selected_rows_keep_their_keys() -> None:
    cache, keys = KVCache(), new(2)
    cache.update((0, 0), keys, keys)
    cache.commit(2)
    cache.select(torch.tensor([1]))
    more = new(1, batch=1)
    ours, _ = cache.update((0, 0), more, more)
    assert torch.equal(ours, torch.cat([keys[1:], more], dim=2))


def test_a_slot_without_the_earlier_positions_is_refused_with_the_remedy() -> None:
    cache = KVCache()
    cache.update((0, 0), new(5), new(5))
    cache.commit(5)
    with pytest.raises(ValueError, match=r"0 of 5 positions in loop 3.*use as many loops as then"):
        cache.update((0, 2), new(1), new(1))


def test_a_call_that_failed_on_its_way_leaves_no_trace() -> None:
    cache = KVCache()
    for slot in ((0, 0), (0, 1)):
        cache.update(slot, new(2), new(2))
    cache.commit(2)
    for slot in ((0, 0), (0, 1)):
        cache.update(slot, new(3), new(3))  # and no commit
    cache.begin()
    cache.update((0, 0), new(3), new(3))
    cache.commit(3)
    assert cache.length == 5
    with pytest.raises(ValueError, match="2 of 5 positions in loop 2"):
        cache.update((0, 1), new(1), new(1))


def test_positions_read_again_with_fewer_loops_after_a_cut_are_missing_too() -> None:
    cache = KVCache()
    for loops, cut in ((2, 1), (1, 3)):
        for loop in range(loops):
            cache.update((0, loop), new(3), new(3))
        cache.commit(3)
        cache.crop(cut)
    with pytest.raises(ValueError, match="1 of 3 positions in loop 2"):
        cache.update((0, 1), new(1), new(1))


def test_an_empty_cache_takes_any_batch() -> None:
    cache = KVCache()
    cache.update((0, 0), new(2), new(2))  # and no commit
    cache.update((0, 0), new(2, batch=3), new(2, batch=3))
    cache.commit(2, torch.ones(3, 2, dtype=torch.bool))
    cache.crop(0)
    keys, _ = cache.update((0, 0), new(1, batch=1), new(1, batch=1))
    cache.commit(1, torch.ones(1, 1, dtype=torch.bool))
    assert len(keys) == 1
    assert cache.past.shape == (1, 1)


def test_another_batch_is_refused() -> None:
    cache = KVCache()
    cache.update((0, 0), new(2), new(2))
    cache.commit(2)
    with pytest.raises(ValueError, match="a batch of 2 rows, got one of 3"):
        cache.update((0, 0), new(1, batch=3), new(1, batch=3))


@pytest.mark.parametrize("length", [-1, 3])
def test_a_cache_cannot_be_cut_to_what_it_never_had(length: int) -> None:
    cache = KVCache()
    cache.commit(2)
    with pytest.raises(ValueError, match=f"cannot cut a cache of 2 positions to {length}"):
        cache.crop(length)


def test_gradients_are_refused() -> None:
    with pytest.raises(ValueError, match=r"under torch.no_grad\(\)"):
        KVCache().update((0, 0), new(1).requires_grad_(), new(1))

"""Windows: random ones as a pure function, ordered ones that cover everything once."""

import time
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from loopverse.text import TokenWindows

SEPARATOR, PADDING = 256, 257


def windows(sizes: list[int], context: int) -> TokenWindows:
    """A stream of documents of the given sizes, whose tokens count up to 255 and again."""
    stream, offsets, token = [], [], 0
    for size in sizes:
        offsets.append(len(stream))
        stream += [SEPARATOR, *(number % 256 for number in range(token, token + size))]
        token += size
    offsets.append(len(stream))
    stream.append(SEPARATOR)
    tokens = torch.tensor(stream, dtype=torch.int16)
    return TokenWindows(tokens, torch.tensor(offsets), context, padding=PADDING, source="toy")


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=8)
seeds = st.integers(0, 2**63)


def same(a: TensorDict, b: TensorDict) -> bool:
    return bool((a == b).all())


def segment_of(stream: TokenWindows, position: int) -> int:
    """The slow way: how many separators stand at or before `position`, less one."""
    return int((stream.tokens[: position + 1] == SEPARATOR).sum()) - 1


@given(sizes, st.integers(1, 4), st.integers(1, 3), seeds, st.integers(0, 50))
def test_starting_later_gives_the_same_batches(sizes, context, batch_size, seed, start) -> None:
    stream = windows([*sizes, 5], context)
    whole = list(islice(stream.random(batch_size, seed=seed), start + 2))
    tail = list(islice(stream.random(batch_size, seed=seed, start=start), 2))
    assert all(same(a, b) for a, b in zip(whole[start:], tail, strict=True))


@given(sizes, st.integers(1, 3), seeds, st.integers(1, 3))
def test_ranks_share_the_rows_of_one_batch(sizes, batch_size, seed, world_size) -> None:
    stream = windows([*sizes, 5], 4)
    whole = stream.random_batch(7, batch_size * world_size, seed=seed)
    ranks = [
        stream.random_batch(7, batch_size, seed=seed, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert same(whole, torch.cat(ranks))


@given(sizes, st.integers(1, 6), seeds)
def test_random_windows_are_stretches_of_the_stream(sizes, context, seed) -> None:
    stream = windows([*sizes, 6], context)
    batch = stream.random_batch(0, 4, seed=seed)
    runs = stream.tokens.unfold(0, context + 1, 1).tolist()
    for row in batch:
        run = [*row["tokens"].tolist(), row["targets"][-1].item()]
        assert run in runs
        start = runs.index(run)
        assert row["targets"][:-1].tolist() == run[1:-1]
        assert row["segments"].tolist() == [segment_of(stream, start + i) for i in range(context)]
    assert batch["weights"].eq(1).all()
    assert batch["tokens"].dtype == torch.long


@given(sizes, seeds)
def test_other_numbers_and_seeds_give_other_batches(sizes, seed) -> None:
    stream = windows([*sizes, 200], 8)
    batches = [stream.random_batch(n, 16, seed=s) for n in range(3) for s in (seed, seed + 1)]
    assert len({tuple(batch["tokens"].flatten().tolist()) for batch in batches}) == 6


def test_every_start_is_drawn_first_and_last_included() -> None:
    stream = windows([3, 2], 4)  # 8 tokens, so starts 0 to 3
    firsts = stream.random_batch(0, 200, seed=0)["tokens"][:, 0]
    assert sorted(set(firsts.tolist())) == sorted(set(stream.tokens[:4].tolist()))


@given(sizes, st.integers(1, 12), st.integers(1, 3), st.integers(1, 3))
def test_a_whole_pass_predicts_every_token_once(sizes, context, batch_size, world_size) -> None:
    stream = windows(sizes, context)
    ranks = [
        list(stream.once(batch_size, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    batches = [batch for step in zip(*ranks, strict=True) for batch in step]
    assert {batch["tokens"].shape for batch in batches} == {(batch_size, context)}
    whole = torch.cat(batches)
    counts = whole["weights"] == 1
    found = [
        tuple(
            tuple(row[key][row["weights"] == 1].tolist())
            for key in ("tokens", "targets", "segments")
        )
        for row in whole
    ]
    tokens = stream.tokens.tolist()
    of = [segment_of(stream, position) for position in range(len(tokens) - 1)]
    expected = [
        tuple(tuple(part[at : at + context]) for part in (tokens[:-1], tokens[1:], of))
        for at in range(0, len(tokens) - 1, context)
    ]
    assert sorted(window for window in found if window[0]) == sorted(expected)
    assert (whole["targets"][~counts] == PADDING).all()
    behind = whole["tokens"] == PADDING
    assert (whole["segments"][behind] == -1).all()
    assert (whole["segments"][~behind] >= 0).all()


def test_the_first_batches_of_a_whole_pass_come_from_all_over_the_stream() -> None:
    stream = windows([50] * 20, 10)
    first = next(stream.once(20))["segments"]
    assert len(first[:, 0].unique()) > 8
    assert not torch.equal(first[:, 0].sort().values, first[:, 0])


def test_a_whole_pass_can_start_later_and_is_the_same_every_time() -> None:
    stream = windows([9, 9, 9], 4)
    whole = list(stream.once(2))
    assert all(same(a, b) for a, b in zip(whole, stream.once(2), strict=True))
    assert all(same(a, b) for a, b in zip(whole[2:], stream.once(2, start=2), strict=True))
    assert [batch["id"].tolist() for batch in whole] == [[n, n] for n in range(len(whole))]


def test_a_stream_shorter_than_a_window_is_refused_with_both_numbers() -> None:
    assert next(windows([6], 7).random(1, seed=0))["tokens"].shape == (1, 7)
    with pytest.raises(ValueError, match="toy has 8 tokens to train on, one window needs 9"):
        next(windows([6], 8).random(1, seed=0))


def test_a_context_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="context must be at least 1 token, got 0"):
        windows([6], 0)


def test_a_batch_takes_less_than_a_millisecond() -> None:
    stream = windows([20] * 5000, 256)
    batches = stream.random(16, seed=0)
    next(batches)
    times = []
    for _ in range(100):
        began = time.perf_counter()
        next(batches)
        times.append(time.perf_counter() - began)
    assert min(times) < 1e-3

"""Checks of a domain's data: what follows from what, and where chance comes in."""

import torch
from tensordict import TensorDict
from torch import Tensor

from loopverse.testing.bench import ROWS, Bench, differing, leaves, take
from loopverse.testing.checking import check
from loopverse.testing.declaration import adapter_is_built_from_its_config_and_a_width
from loopverse.testing.failure import expect

FAR = 10_000
"""A batch number that no finite list of batches of a small data set reaches."""
MOST = 2_000
"""Batches of held-out data, of 64 rows each, after which a split counts as endless."""


@check(adapter_is_built_from_its_config_and_a_width)
def batches_are_tensordicts_on_the_cpu(bench: Bench) -> None:
    """Both splits give TensorDicts on the CPU, a training batch with as many rows as asked for."""
    for split in ("train", "valid"):
        taken = take(bench.adapter(), split, 1)
        expect(
            len(taken) == 1,
            f'batches("{split}") to give a batch',
            "none",
            "hold out some data; a split smaller than one batch gives one smaller batch",
        )
        batch = taken[0]
        expect(
            isinstance(batch, TensorDict),
            "a TensorDict",
            type(batch).__name__,
            'yield TensorDict({"name": tensor}, batch_size=[batch_size])',
        )
        rows = list(batch.batch_size[:1])
        expect(
            rows == [ROWS] if split == "train" else 1 <= sum(rows) <= ROWS,
            f"batch_size [{ROWS}] for batches({split!r}, batch_size={ROWS})",
            f"{list(batch.batch_size)}",
            "the first axis of every entry is the row: TensorDict(..., batch_size=[batch_size])",
        )
        elsewhere = {
            name: value.device.type
            for name, value in leaves(batch).items()
            if isinstance(value, Tensor) and value.device.type != "cpu"
        }
        expect(
            not elsewhere,
            "batches on the CPU",
            f"{elsewhere}",
            "leave moving to the framework: it happens after prepare",
        )


@check(batches_are_tensordicts_on_the_cpu)
def train_never_ends(bench: Bench) -> None:
    """Training batches never run out: epochs are the domain's business."""
    expect(
        bool(take(bench.adapter(), "train", 1, start=FAR)),
        f"a batch number {FAR}",
        "the end of the iterator",
        "count upwards without end (itertools.count(start)) and take the number modulo the size",
    )


@check(batches_are_tensordicts_on_the_cpu)
def train_follows_from_the_seed(bench: Bench) -> None:
    """The same seed gives the same training batches, whatever the global generators say."""
    first, second = (take(bench.adapter(), "train", 3, chance=chance) for chance in (1, 2))
    _expect_same(
        first,
        second,
        "draw from a torch.Generator seeded by (seed, n), not from the global generators",
    )


@check(train_follows_from_the_seed)
def start_skips_batches(bench: Bench) -> None:
    """`start=k` gives what skipping k batches gives, so that a run resumes on the right data."""
    _expect_same(
        take(bench.adapter(), "train", 5)[2:],
        take(bench.adapter(), "train", 3, start=2),
        "let batch n depend on (seed, n, rank) alone: seed a generator per batch, not per epoch, "
        "and count from start",
    )


@check(train_follows_from_the_seed)
def seeds_and_ranks_read_other_data(bench: Bench) -> None:
    """Another seed, another rank and another number give other training batches."""
    first, second = take(bench.adapter(), "train", 2)
    other_seed = take(bench.adapter(), "train", 1, seed=1)[0]
    other_rank = take(bench.adapter(), "train", 1, rank=1, world_size=2)[0]
    first_rank = take(bench.adapter(), "train", 1, rank=0, world_size=2)[0]
    for one, other, what, why in (
        (first, second, "batch 1 to differ from batch 0", "the number of the batch"),
        (first, other_seed, "seed 1 to read other batches than seed 0", "seed"),
        (first_rank, other_rank, "rank 1 of 2 to read other batches than rank 0", "rank"),
    ):
        expect(
            bool(differing(_content(one), _content(other))),
            what,
            "the same batch",
            f"put {why} into what seeds the batch's generator",
        )


@check(batches_are_tensordicts_on_the_cpu)
def valid_ends(bench: Bench) -> None:
    """Held-out batches end, so that an evaluation does."""
    count = len(take(bench.adapter(), "valid", MOST, batch_size=64))
    expect(
        count < MOST,
        'batches("valid") to end',
        f"{MOST} batches of 64 rows and no end",
        "go through the held-out rows once; only the training split is endless",
    )


@check(batches_are_tensordicts_on_the_cpu)
def valid_is_the_same_every_time(bench: Bench) -> None:
    """Held-out batches are the same every time, so that two evaluations compare."""
    first, second = (take(bench.adapter(), "valid", 3, chance=chance) for chance in (1, 2))
    _expect_same(first, second, "do not shuffle held-out data, and draw nothing from global chance")


@check(batches_are_tensordicts_on_the_cpu)
def valid_shares_nothing_with_train(bench: Bench) -> None:
    """Most held-out rows are not among the training rows; looks at the first 128 of each."""
    train = {row for batch in take(bench.adapter(), "train", 32) for row in _rows(batch)}
    valid = [row for batch in take(bench.adapter(), "valid", 32) for row in _rows(batch)]
    both = sum(row in train for row in valid)
    expect(
        both <= len(valid) // 2,
        "held-out rows that are not trained on",
        f"{both} of {len(valid)} among the first {len(train)} training rows",
        "choose rows by `split`: by their source (file, document), or by a hash of their content "
        "where everything possible is few",
    )


@check(batches_are_tensordicts_on_the_cpu)
def prepare_returns_a_batch(bench: Bench) -> None:
    """`prepare` returns a TensorDict of the same rows."""
    raw = take(bench.adapter(), "train", 1)[0]
    prepared = bench.prepared(raw)
    expect(
        isinstance(prepared, TensorDict),
        "prepare to return a TensorDict",
        f"{type(prepared).__name__}",
        "return the batch, also where nothing was added",
    )
    expect(
        prepared.batch_size[0] == raw.batch_size[0],
        f"{raw.batch_size[0]} rows as before prepare",
        f"{prepared.batch_size[0]}",
        "repeat rows in embed, not in prepare",
    )


@check(prepare_returns_a_batch)
def prepare_draws_only_from_its_generator(bench: Bench) -> None:
    """The same generator gives the same prepared batch, whatever the global generators say."""
    raw = take(bench.adapter(), "train", 1)[0]
    first, second = (bench.prepared(raw.clone(), chance=chance) for chance in (1, 2))
    _expect_same(
        [first], [second], "pass generator=rng to every draw; torch.rand_like cannot take one"
    )


@check(prepare_draws_only_from_its_generator, valid_is_the_same_every_time)
def prepare_leaves_the_data_alone(bench: Bench) -> None:
    """Preparing held-out batches does not change them for the next evaluation."""
    adapter, rng = bench.opened(), torch.Generator().manual_seed(0)
    first = [batch.clone() for batch in take(adapter, "valid", 3)]
    for batch in take(adapter, "valid", 3):
        adapter.prepare(batch, rng)
    _expect_same(
        first,
        take(adapter, "valid", 3),
        "batches hands out tensors that it keeps, and prepare writes into them: "
        "work on batch.clone()",
    )


def _expect_same(first: list[TensorDict], second: list[TensorDict], remedy: str) -> None:
    expect(len(first) == len(second), f"{len(first)} batches again", f"{len(second)}", remedy)
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        changed = differing(one, other)
        expect(
            not changed,
            f"batch {number} to be the same again",
            f"other values in {', '.join(changed)}",
            remedy,
        )


def _content(batch: TensorDict) -> TensorDict:
    """The batch without its name."""
    return batch.exclude("id")


def _rows(batch: TensorDict) -> list[bytes]:
    """The tensors of every row as bytes."""
    count = batch.batch_size[0]
    entries = [
        value.reshape(count, -1).contiguous().view(torch.uint8).numpy()
        for value in leaves(_content(batch)).values()
        if isinstance(value, Tensor)
    ]
    return [b"".join(entry[row].tobytes() for entry in entries) for row in range(count)]

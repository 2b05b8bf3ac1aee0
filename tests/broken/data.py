"""Broken batches, splits and preparation."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from tensordict import TensorDict
from walk import BLANK, Walk

from broken.planted import found_by

BATCHES = "batches_are_tensordicts_on_the_cpu"
OTHERS = "seeds_and_ranks_read_other_data"
PREPARED = "prepare_returns_a_batch"


@found_by(BATCHES, 'batches("valid") to give a batch', "got none", "hold out some data")
class HoldsNothingOut(Walk):
    def numbers(self, split: str, start: int) -> Iterable[int]:
        return itertools.count(start) if split == "train" else ()


@found_by(BATCHES, "a TensorDict", "got dict", "yield TensorDict(")
class PlainDicts(Walk):
    def walks(self, count: int, rng: Any) -> Any:
        return dict(super().walks(count, rng).items())


@found_by(BATCHES, "batch_size [4]", "got []", "batch_size=[batch_size]")
class NoBatchSize(Walk):
    def walks(self, count: int, rng: Any) -> TensorDict:
        return TensorDict(dict(super().walks(count, rng).items()), batch_size=[])


@found_by(BATCHES, "batch_size [4]", "got [8]")
class TwiceTheRows(Walk):
    def walks(self, count: int, rng: Any) -> TensorDict:
        return super().walks(2 * count, rng)


@found_by(BATCHES, "batches on the CPU", "'places': 'meta'", "it happens after prepare")
class MovesItself(Walk):
    def walks(self, count: int, rng: Any) -> TensorDict:
        return super().walks(count, rng).to("meta")


@found_by("train_never_ends", "a batch number 10000", "the end of the iterator", "itertools.count")
class OneEpoch(Walk):
    def numbers(self, split: str, start: int) -> Iterable[int]:
        return range(start, 200 if split == "train" else 3)


@found_by("train_follows_from_the_seed", "other values in places", "seeded by (seed, n)")
class GlobalChance(Walk):
    def generator(self, split: str, *address: int) -> Any:
        return None if split == "train" else super().generator(split, *address)


@found_by("start_skips_batches", "batch 0 to be the same again", "count from start")
class IgnoresStart(Walk):
    def numbers(self, split: str, start: int) -> Iterable[int]:
        return super().numbers(split, 0)


@found_by(OTHERS, "batch 1 to differ from batch 0", "put the number of the batch into")
class SameBatchAlways(Walk):
    def generator(self, split: str, seed: int, number: int, rank: int) -> Any:
        return super().generator(split, seed, 0, rank)


@found_by(OTHERS, "seed 1 to read other batches than seed 0", "put seed into")
class IgnoresSeed(Walk):
    def generator(self, split: str, seed: int, number: int, rank: int) -> Any:
        return super().generator(split, 0, number, rank)


@found_by(OTHERS, "rank 1 of 2 to read other batches than rank 0", "put rank into")
class IgnoresRank(Walk):
    def generator(self, split: str, seed: int, number: int, rank: int) -> Any:
        return super().generator(split, seed, number, 0)


@found_by("valid_ends", "2000 batches of 64 rows and no end", "once; only the training split")
class EndlessValid(Walk):
    def numbers(self, split: str, start: int) -> Iterable[int]:
        return itertools.count(start)


@found_by("valid_is_the_same_every_time", "other values in places", "do not shuffle held-out data")
class ShuffledValid(Walk):
    def generator(self, split: str, *address: int) -> Any:
        return None if split == "valid" else super().generator(split, *address)


@found_by("valid_shares_nothing_with_train", "12 of 12 among the first 128", "rows by `split`")
class IgnoresSplit(Walk):
    def generator(self, split: str, *address: int) -> Any:
        return super().generator("both", *address)


@found_by(PREPARED, "prepare to return a TensorDict", "got NoneType", "return the batch")
class PreparesInPlace(Walk):
    def prepare(self, batch: TensorDict, rng: torch.Generator) -> Any:
        batch["seen"] = batch["places"]


@found_by(PREPARED, "4 rows as before prepare", "got 8", "repeat rows in embed")
class RepeatsRows(Walk):
    def prepare(self, batch: TensorDict, rng: torch.Generator) -> TensorDict:
        prepared = super().prepare(batch, rng)
        return prepared[torch.arange(4).repeat(2)]


@found_by("prepare_draws_only_from_its_generator", "other values in seen", "pass generator=rng")
class PreparesByGlobalChance(Walk):
    def prepare(self, batch: TensorDict, rng: torch.Generator) -> TensorDict:
        hidden = torch.rand(batch["places"].shape) < self.config.blanks
        return batch.clone(recurse=False).set("seen", batch["places"].masked_fill(hidden, BLANK))


@found_by("prepare_leaves_the_data_alone", "other values in places", "work on batch.clone()")
class WritesIntoItsData(Walk):
    kept: tuple[TensorDict, ...] = ()

    def batches(self, split: Any, **options: Any) -> Iterator[TensorDict]:
        if split == "train":
            yield from super().batches(split, **options)
        self.kept = self.kept or tuple(super().batches("valid", **options))
        yield from self.kept

    def prepare(self, batch: TensorDict, rng: torch.Generator) -> TensorDict:
        prepared = super().prepare(batch, rng)
        prepared["places"][:, 0] = 7 - prepared["places"][:, 0]
        return prepared

"""Windows over episodes: random ones to train on, every transition once to evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from jaxtyping import Int
from tensordict import TensorDict
from torch import Tensor

from loopverse.errors import UserError
from loopverse_world_model.replay import Replay
from loopverse_world_model.seeds import seed_of

if TYPE_CHECKING:
    from torchrl.data import ReplayBuffer

Length = int | Callable[[int], int]
"""Transitions of a window, or a function that says how many windows of batch `n` have."""


class Windows:
    """Cuts windows of `t` transitions out of some episodes of a replay.

    A batch is a TensorDict `[b]` of
        observation  by leaf, `[b t+1 ...]`, raw
        action       `[b t ...]`, raw
        reward       `[b t]`
        terminated   `[b t]`, 1 where the action ended the episode in a terminal state
        weights      `[b t]`, 1 where there is a transition, 0 behind the end of its episode, where the
                     last record is repeated
        id           `[b]`, number of the first record; -1 in a row that only fills the batch

    A random window is a place on a line on which every episode lies with `t - 1` free places before it:
    it begins at that transition, or with the episode if the place is free. So a window holds the end
    of an episode at any of its steps, and a transition lies in as many windows as another or in up to
    twice as many (those before the `t`-th of an episode); were there no free places, the first would lie
    in one window and the `t`-th in `t`.

    Args:
        replay: where episodes are.
        episodes: numbers of those to cut from.
        pad: windows may run past the end of an episode. False: they are slid back inside, and end at
            most where it ends; transitions then lie in up to three times as many windows as others, and
            the end of an episode is always the last step of a window.
    """

    def __init__(
        self, replay: Replay, episodes: Sequence[int] | np.ndarray, *, pad: bool = True
    ) -> None:
        self.replay, self.pad = replay, pad
        numbers = np.asarray(episodes, np.int64)
        self.first = torch.from_numpy(replay.starts[numbers])
        self.lengths = torch.from_numpy(replay.lengths[numbers])
        records = replay.records
        self._observation = cast(TensorDict, records["observation"])
        self._action, self._reward, self._terminated = (
            cast(Tensor, records[name]) for name in ("action", "reward", "terminated")
        )
        self._line: _Line | None = None

    def random(
        self,
        batch_size: int,
        length: Length,
        *,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[TensorDict]:
        """Endless batches; the same as `random_batch` at start, start + 1, ...

        Raises:
            UserError: as `random_batch`.
        """
        for number in count(start):
            steps = length if isinstance(length, int) else length(number)
            yield self.random_batch(
                number, batch_size, steps, seed=seed, rank=rank, world_size=world_size
            )

    def random_batch(
        self,
        number: int,
        batch_size: int,
        length: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> TensorDict:
        """Batch `number`, which depends on nothing but the arguments.

        The ranks together hold the rows of one batch of `batch_size * world_size`.

        Raises:
            UserError: windows may not be padded, and an episode is shorter than one.
        """
        if self._line is None or self._line.length != length:
            self._line = _Line.of(self.first, self.lengths, length, self.pad)
        rows = batch_size * world_size
        first, last = self._line.draw(rows, seed_of("windows", seed, number))
        mine = slice(rank * batch_size, (rank + 1) * batch_size)
        return self._batch(first[mine], last[mine], length)

    def once(
        self,
        batch_size: int,
        length: int,
        *,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[TensorDict]:
        """Windows one after the other, without overlap, so that every transition is in one.

        In an order that is drawn once and for all, so that the first batches stand for all episodes.
        All batches have the same shape and all ranks the same number of them: what is missing in the
        last ones is rows of weight 0.
        """
        per_episode = (self.lengths + length - 1) // length
        total = int(per_episode.sum())
        within = torch.arange(total) - (per_episode.cumsum(0) - per_episode).repeat_interleave(
            per_episode
        )
        first = self.first.repeat_interleave(per_episode) + within * length
        last = (self.first + self.lengths).repeat_interleave(per_episode)
        rows = batch_size * world_size
        num_batches = -(-total // rows)
        order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
        filling = torch.full((num_batches * rows - total,), -1)
        order = torch.cat([order, filling])
        for number in range(start, num_batches):
            begin = number * rows + rank * batch_size
            chosen = order[begin : begin + batch_size]
            empty = chosen < 0
            chosen = chosen.clamp(min=0)
            # A row that only fills begins where its episode ends.
            begins = torch.where(empty, last[chosen], first[chosen])
            batch = self._batch(begins, last[chosen], length)
            batch["id"] = batch["id"].masked_fill(empty, -1)
            yield batch

    def _batch(self, first: Int[Tensor, " b"], last: Int[Tensor, " b"], length: int) -> TensorDict:
        """The windows that begin with `first`, in episodes whose final record is `last`."""
        size = len(first)
        places = first[:, None] + torch.arange(length + 1)  # [b t+1]
        weights = (places[:, :-1] < last[:, None]).float()
        places = torch.minimum(places, last[:, None])
        steps = places[:, :-1]
        observation = {path: values[places] for path, values in self._observation.items()}
        return TensorDict(
            {
                "observation": TensorDict(observation, batch_size=[size, length + 1]),
                "action": self._action[steps],
                "reward": self._reward[steps],
                "terminated": self._terminated[steps].float(),
                "weights": weights,
                "id": first.clone(),
            },
            batch_size=[size],
        )


@dataclass
class _Line:
    """All places where a window of one length can be drawn.

    torchrl's `SliceSampler` draws slices of this line, which it is told is one trajectory. Given the
    episodes as trajectories it would choose one of them first, long or short with the same probability,
    and it would only pad episodes that are shorter than a slice, not slices that run past an end.
    Its generator is seeded for every batch, so that each has an address.
    """

    length: int
    slices: ReplayBuffer
    rng: torch.Generator

    @classmethod
    def of(
        cls, first: Int[Tensor, " e"], lengths: Int[Tensor, " e"], length: int, pad: bool
    ) -> _Line:
        from torchrl.data import ReplayBuffer, SliceSampler, TensorStorage

        if length < 1:
            raise UserError(f"a window has at least 1 transition, got {length}")
        short = lengths < length
        if not pad and short.any():
            raise UserError(
                f"{int(short.sum())} of {len(lengths)} episodes are shorter than a window of {length} "
                f"transitions, the shortest has {int(lengths.min())}: let windows run past the end "
                "of an episode (domain.pad=true), or lower domain.horizon"
            )
        places = lengths + length - 1
        offset = torch.arange(int(places.sum())) - (places.cumsum(0) - places).repeat_interleave(
            places
        )
        offset = (offset - (length - 1)).clamp(min=0)
        if not pad:
            offset = torch.minimum(offset, (lengths - length).repeat_interleave(places))
        begins = first.repeat_interleave(places) + offset
        ends = (first + lengths).repeat_interleave(places)
        line = TensorDict({"first": begins, "last": ends}, batch_size=[len(begins)])
        rng = torch.Generator()
        sampler = SliceSampler(
            slice_len=1,
            trajectories=torch.zeros(len(begins), dtype=torch.long),
            cache_values=True,
            truncated_key=None,
            init_key=None,
        )
        return cls(
            length, ReplayBuffer(storage=TensorStorage(line), sampler=sampler, generator=rng), rng
        )

    def draw(self, count: int, seed: int) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The first record of some windows, and the last of the episode that each lies in."""
        self.rng.manual_seed(seed)
        drawn = self.slices.sample(count)
        return drawn["first"], drawn["last"]

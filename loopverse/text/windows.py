"""Windows over a stream of tokens: random ones to train on, every one once to validate."""

import hashlib
from collections.abc import Iterator
from itertools import count

import torch
from jaxtyping import Int, Integer
from tensordict import TensorDict
from torch import Tensor


class TokenWindows:
    """Cuts `context` tokens, and the one that follows each, out of a stream of documents.

    A batch is a TensorDict `[b]` of
        tokens    `[b t]`  what is read
        targets   `[b t]`  the token after each
        weights   `[b t]`  float, 1 where there is a target, 0 behind the end of the stream
        segments  `[b t]`  number of the document that the token belongs to, counting the separator
                           before it; -1 behind the end of the stream
        id        `[b]`    number of the batch

    Args:
        tokens: the stream, with a separator before every document and one at the end.
        offsets: where each separator stands.
        context: length `t` of a window.
        padding: the token that fills windows behind the end of the stream.
        source: what errors call the stream.

    Raises:
        ValueError: `context` is below 1.
    """

    def __init__(
        self,
        tokens: Integer[Tensor, " n"],
        offsets: Int[Tensor, " d"],
        context: int,
        *,
        padding: int,
        source: str = "the corpus",
    ) -> None:
        if context < 1:
            raise ValueError(f"domain.context must be at least 1 token, got {context}")
        # A memory-mapped subclass would pay for its dispatch at every indexing.
        self.tokens = tokens.as_subclass(Tensor)
        self.offsets = offsets.as_subclass(Tensor)
        self.context = context
        self.padding = padding
        self.source = source

    def random(
        self, batch_size: int, *, seed: int, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[TensorDict]:
        """Endless batches from anywhere in the stream; the same as `random_batch` at start, ... .

        Raises:
            ValueError: the stream is shorter than one window.
        """
        self._require_one_window()
        for number in count(start):
            yield self.random_batch(number, batch_size, seed=seed, rank=rank, world_size=world_size)

    def random_batch(
        self, number: int, batch_size: int, *, seed: int, rank: int = 0, world_size: int = 1
    ) -> TensorDict:
        """Batch `number`, which depends on nothing but the arguments.

        The ranks together hold the rows of one batch of `batch_size * world_size`.
        """
        address = hashlib.sha256(f"windows {seed} {number}".encode()).digest()
        rng = torch.Generator().manual_seed(int.from_bytes(address[:8], "big") >> 1)
        choices = len(self.tokens) - self.context
        starts = torch.randint(choices, (batch_size * world_size,), generator=rng)
        starts = starts[rank * batch_size : (rank + 1) * batch_size]
        window = self.tokens.unfold(0, self.context + 1, 1)[starts].long()  # [b t+1]
        positions = starts[:, None] + torch.arange(self.context)
        return self._batch(window, positions, torch.ones(batch_size, self.context), number)

    def once(
        self, batch_size: int, *, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[TensorDict]:
        """All windows once, without overlap, so that every token is a target once.

        In an order that is drawn once and for all, so that the first batches stand for the whole
        stream and not for its first documents. All batches have the same shape and all ranks the same
        number of them: what is missing in the last ones is padding of weight 0.
        """
        num_windows = -(-(len(self.tokens) - 1) // self.context)
        rows = batch_size * world_size
        num_batches = -(-num_windows // rows)
        order = torch.randperm(num_windows, generator=torch.Generator().manual_seed(0))
        behind = torch.full((num_batches * rows - num_windows,), num_windows)
        order = torch.cat([order, behind])
        last = len(self.tokens) - 1
        for number in range(start, num_batches):
            first = number * rows + rank * batch_size
            begins = order[first : first + batch_size] * self.context
            places = begins[:, None] + torch.arange(self.context + 1)  # [b t+1]
            window = self.tokens[places.clamp(max=last)].long()
            window = window.masked_fill(places > last, self.padding)
            positions = places[:, :-1].contiguous()
            yield self._batch(window, positions, (positions < last).float(), number)

    def _batch(
        self,
        window: Int[Tensor, "b t1"],
        positions: Int[Tensor, "b t"],
        weights: Tensor,
        number: int,
    ) -> TensorDict:
        segments = torch.searchsorted(self.offsets, positions, right=True) - 1
        segments = segments.masked_fill(positions >= len(self.tokens), -1)
        size = len(window)
        return TensorDict(
            {
                "tokens": window[:, :-1],
                "targets": window[:, 1:],
                "weights": weights,
                "segments": segments,
                "id": torch.full((size,), number),
            },
            batch_size=[size],
        )

    def _require_one_window(self) -> None:
        if len(self.tokens) <= self.context:
            raise ValueError(
                f"{self.source} has {len(self.tokens)} tokens to train on, one window needs "
                f"{self.context + 1} (context {self.context} and the token after it): "
                "give more text or lower domain.context"
            )

"""Observations to imagine from, and what really followed them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from tensordict import TensorDict
from torch import Tensor

from loopverse.errors import UserError


@dataclass(frozen=True)
class Starts:
    """Records from which the future is imagined, as numbers of a table of records.

    Starts of one episode see much of the same future, so intervals are over episodes.

    Attributes:
        rows: of the last observation that is seen, `[n]`.
        episode: which of the `num_episodes` episodes of the table each is in, from 0, `[n]`.
        left: transitions from there to the end of the episode, `[n]`.
        num_episodes: in the table.
    """

    rows: Int[Tensor, " n"]
    episode: Int[Tensor, " n"]
    left: Int[Tensor, " n"]
    num_episodes: int

    @classmethod
    def of(
        cls, records: TensorDict, *, context: int = 1, limit: int | None = None, needed: int = 1
    ) -> "Starts":
        """Every record that has enough before and after it, or so many of them, evenly spaced.

        Args:
            records: in the order of their episodes, one more of each than it has transitions.
            context: observations that are seen, this one the last of them.
            limit: how many at most.
            needed: transitions that must be left.

        Raises:
            UserError: there is none.
        """
        numbers, episode, lengths = torch.unique_consecutive(
            records["episode"].cpu(), return_inverse=True, return_counts=True
        )
        place = torch.arange(len(episode)) - (lengths.cumsum(0) - lengths)[episode]
        left = lengths[episode] - 1 - place
        rows = ((left >= needed) & (place >= context - 1)).nonzero()[:, 0]
        if len(rows) == 0:
            raise UserError(
                f"the longest of {len(numbers)} held-out episodes has {int(lengths.max()) - 1} transitions, "
                f"expected at least {context - 1 + needed}: collect longer episodes, or lower domain.context"
            )
        if limit is not None and len(rows) > limit:
            rows = rows[torch.linspace(0, len(rows) - 1, limit).round().long()]
        return cls(rows, episode[rows], left[rows], len(numbers))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, mask: Bool[Tensor, " n"]) -> "Starts":
        """Some of them, of the same table."""
        return Starts(self.rows[mask], self.episode[mask], self.left[mask], self.num_episodes)

    def past(self, records: TensorDict, context: int) -> TensorDict:
        """What is seen: the records up to each start, `[n context]`."""
        return records[self.rows[:, None] + torch.arange(1 - context, 1)]

"""What is to be expected beyond a plan: the return of the next steps, as it was in the episodes of the data."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from tensordict import TensorDict
from torch import Tensor, nn

from loopverse_world_model.statistics import spread

HIDDEN = 64


@dataclass
class Returns:
    """The return of the next steps of every record of a replay.

    Attributes:
        value: the sum of the rewards, `[m]`; after the end of an episode there are none.
        known: false where the episode was cut off sooner, so that nobody knows, `[m]`.
        last: number of the last record of the episode that a record is of, `[m]`.
    """

    value: Float[Tensor, " m"]
    known: Bool[Tensor, " m"]
    last: Int[Tensor, " m"]

    @classmethod
    def of(cls, records: TensorDict, steps: int) -> "Returns":
        """From the records of whole episodes, one after the other.

        Args:
            records: with reward, terminated and episode.
            steps: that are looked ahead.
        """
        episode, reward = records["episode"], records["reward"].double()
        place = torch.arange(len(episode))
        ends = torch.ones_like(episode, dtype=torch.bool)
        ends[:-1] = episode[1:] != episode[:-1]
        final = place[ends]
        last = final[torch.searchsorted(final, place)]
        so_far = torch.cat(
            [torch.zeros(1, dtype=torch.float64), reward.cumsum(0)]
        )  # before each record
        until = torch.minimum(place + steps, last)
        # The last action of an episode, whose record is the last but one, is what ends it.
        ended = records["terminated"][(last - 1).clamp(min=0)]
        known = ended | (place + steps <= last)
        return cls((so_far[until] - so_far[place]).float(), known, last)

    def windows(self, first: Int[Tensor, " b"], length: int) -> tuple[Tensor, Tensor]:
        """Value, and whether it is known, of the observations of some windows, `[b length+1]`.

        What lies behind the end of an episode is not known: the end is there once.

        Args:
            first: number of the first record of each.
            length: transitions of each.
        """
        places = first[:, None] + torch.arange(length + 1)
        within = places <= self.last[first][:, None]
        places = torch.minimum(places, self.last[first][:, None])
        return self.value[places], self.known[places] & within


class TerminalValue(nn.Module):
    """Learns the return of the next steps from what is observed, for planners to add to the end of a plan.

    A plan is short, and what it does not see it does not care for: two plans along which a pole stays
    up are worth the same, though one ends at the edge of the track. How episodes went on from such
    observations says more. It is the value of whoever played, and so a lower bound for a better
    planner; it rises with the episodes. The network is one of its own and passes no gradient on to the
    features that it reads: nothing else is learned differently for it. Source: returns of a behaviour
    policy as terminal value, Argenson & Dulac-Arnold 2020 (2008.05556, section 4); a learned value at
    the end of a plan, Lowrey et al. 2018 (1811.01848, eq. 3).

    Args:
        num_features: numbers that are read of an observation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            *(nn.Linear(num_features, HIDDEN), nn.SiLU()),
            *(nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1)),
        )
        for name, value in (("mean", 0.0), ("std", 1.0)):
            self.register_buffer(name, torch.full((1,), value), persistent=False)

    def forward(self, features: Float[Tensor, "*batch f"]) -> Float[Tensor, "*batch"]:
        return self.network(features)[..., 0].float() * self.std + self.mean

    def loss(
        self,
        features: Float[Tensor, "*batch f"],
        value: Float[Tensor, "*batch"],
        known: Bool[Tensor, "*batch"],
    ) -> Tensor:
        """Squared error in standard deviations, a mean over what is known."""
        squares = ((self(features.detach()) - value) / self.std).square() * known
        return squares.sum() / known.sum().clamp(min=1)

    def fit(self, returns: Returns) -> None:
        """Take the scale of the data."""
        if not bool(returns.known.any()):
            return
        found = spread(returns.value[returns.known][:, None])
        self.mean.copy_(found.mean)
        self.std.copy_(found.std)

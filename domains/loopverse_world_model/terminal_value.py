"""What is to be expected beyond a plan: the return of the next steps, as it was in the episodes of the data."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN = 64
EXPECTILE = 0.9
"""Of returns: 0.5 would be their mean, 1 the largest."""
OPTIMISM = 0.05
"""How much it counts that where nothing was seen, the largest return may be had."""
ELSEWHERE = 1.5
"""So many times as far from the mean as what was seen, at most."""


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
    observations says more. Some of those who played them did worse than a planner will, so what is
    learned is an upper expectile of the returns and not their mean. It stays between the smallest
    and the largest that were seen, and tends to the largest away from what was seen, or a planner
    would shun what it does not know. The network is one of its own and passes no gradient on to the
    features that it reads: nothing else is learned differently for it. Sources: a learned value
    at the end of a plan, Lowrey et al. 2018 (1811.01848, eq. 3), of truncated returns, Argenson &
    Dulac-Arnold 2020 (2008.05556, section 4); expectiles, Kostrikov et al. 2021 (2110.06169, eq. 5).

    Args:
        num_features: numbers that are read of an observation.
    """

    low: Tensor
    high: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            *(nn.Linear(num_features, HIDDEN), nn.SiLU()),
            *(nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1)),
        )
        for name, value in (("low", 0.0), ("high", 1.0)):
            self.register_buffer(name, torch.full((1,), value), persistent=False)

    def forward(self, features: Float[Tensor, "*batch f"]) -> Float[Tensor, "*batch"]:
        return self.low + self._logits(features).sigmoid() * (self.high - self.low)

    def loss(
        self,
        features: Float[Tensor, "*batch f"],
        value: Float[Tensor, "*batch"],
        known: Bool[Tensor, "*batch"],
    ) -> Tensor:
        """Cross-entropy of returns as shares of their range, a mean over what is known.

        Weighed `|tau - 1(u < 0)|`, `u` what is missed, whose minimum is the expectile, as with squares. And a
        little for optimism: features that occurred, but not together, and farther out.
        """
        seen = features.detach()
        share = ((value - self.low) / (self.high - self.low)).clamp(0, 1)
        logits = self._logits(seen)
        weight = torch.where(share < logits.detach().sigmoid(), 1 - EXPECTILE, EXPECTILE)
        nats = F.binary_cross_entropy_with_logits(logits, share, weight, reduction="none")
        mixed = seen.flatten(0, -2)
        mixed = ELSEWHERE * mixed.gather(0, torch.rand_like(mixed).argsort(0))
        hope = -F.logsigmoid(self._logits(mixed)).mean()
        return (nats * known).sum() / known.sum().clamp(min=1) + OPTIMISM * hope

    def fit(self, returns: Returns) -> None:
        """Take the range of the data."""
        seen = returns.value[returns.known]
        if len(seen) == 0:
            return
        self.low.fill_(seen.min())
        self.high.fill_(torch.maximum(seen.max(), seen.min() + 1e-3))

    def _logits(self, features: Tensor) -> Tensor:
        """Of where in the range of the data the value is."""
        return self.network(features)[..., 0].float()

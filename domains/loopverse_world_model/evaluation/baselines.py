"""What a world model has to beat: nothing changes, and everything is linear."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Bool, Float
from tensordict import TensorDict
from torch import Tensor

from loopverse_world_model.dynamics import Dynamics
from loopverse_world_model.evaluation.coordinates import COMPONENTS, ObservationCoordinates
from loopverse_world_model.evaluation.forecasting import Forecast, Forecaster
from loopverse_world_model.evaluation.open_loop import HORIZONS, OpenLoop, measure_errors
from loopverse_world_model.evaluation.starts import Starts

if TYPE_CHECKING:
    from loopverse_world_model.adapter import WorldModel

MOST_READ = 1000
"""Above it a least-squares fit takes longer than all the rest of an evaluation."""
MOST_RECORDS = 50_000
"""Of the training episodes, evenly spaced, that it is fitted to."""
PORTION = 1000
FURTHEST = 1e6
"""Where a linear model that explodes is stopped, in standard deviations."""


@dataclass
class Usual:
    """What a transition of the training episodes is on average.

    Attributes:
        reward: mean of it.
        keep_going: share of those after which the episode goes on.
    """

    reward: float
    keep_going: float

    @classmethod
    def of(cls, records: TensorDict) -> "Usual":
        """The averages over all transitions of the records."""
        acted = _acted(records)
        ended = records["terminated"].cpu()[acted].float().mean()
        return cls(float(records["reward"].cpu()[acted].mean()), 1 - float(ended))


class Persistence(Forecaster[TensorDict]):
    """The observation stays as it is; the reward, of which nothing is seen, is the usual one."""

    def __init__(self, usual: Usual) -> None:
        self.usual = usual

    def begin(self, past: TensorDict) -> TensorDict:
        return cast(TensorDict, past["observation"])[:, -1]

    def act(self, state: TensorDict, action: Tensor) -> TensorDict:
        return state

    def forecast(self, state: TensorDict) -> Forecast:
        usual, blank = self.usual, torch.zeros(state.batch_size)
        return Forecast(state, blank + usual.reward, blank + usual.keep_going)

    def take(self, state: TensorDict, mask: Bool[Tensor, " n"]) -> TensorDict:
        return state[mask]


class LeastSquares(Forecaster[Tensor]):
    """`[o'; r; c] = A [o; a; 1]`, fitted to single transitions and applied again and again.

    Observations are standardised numbers, scores of categories, principal components of pictures;
    actions are encoded as the model reads them; `c` is 1 where the episode goes on. Of several solutions
    that fit equally well the smallest is taken, so nothing has to be added to make it unique.

    Args:
        dynamics: of a model that knows the scale of the data.
        records: of the training episodes.
    """

    def __init__(self, dynamics: Dynamics, records: TensorDict) -> None:
        self.actions = dynamics.actions
        self.coordinates = ObservationCoordinates(dynamics, records)
        num_read = self.coordinates.size + self.actions.width + 1
        seen_twice = torch.zeros(num_read, num_read, dtype=torch.float64)
        followed = torch.zeros(num_read, self.coordinates.size + 2, dtype=torch.float64)
        for now, then in _pairs(records):
            x = self._reads(self.coordinates.of(now["observation"]), now["action"])
            outcome = torch.stack([now["reward"], 1 - now["terminated"].float()], -1).double()
            y = torch.cat([self.coordinates.of(then["observation"]), outcome], -1)
            seen_twice += x.T @ x
            followed += x.T @ y
        self.weights = torch.linalg.pinv(seen_twice, rtol=1e-12, hermitian=True) @ followed

    @staticmethod
    def num_read(dynamics: Dynamics) -> int:
        """How many numbers such a model would read, at most."""
        sizes = [
            COMPONENTS if leaf.kind == "image" else dynamics.leaf(leaf).num_features
            for leaf in dynamics.observed
        ]
        return sum(sizes) + dynamics.actions.width + 1

    def begin(self, past: TensorDict) -> Tensor:
        observed = self.coordinates.of(cast(TensorDict, past["observation"])[:, -1])
        return torch.cat([observed, observed.new_zeros(len(observed), 2)], -1)

    def act(self, state: Tensor, action: Tensor) -> Tensor:
        after = self._reads(state[:, :-2], action) @ self.weights
        return after.clamp(-FURTHEST, FURTHEST)

    def forecast(self, state: Tensor) -> Forecast:
        observation = self.coordinates.back(state[:, :-2])
        return Forecast(observation, state[:, -2].float(), state[:, -1].float().clamp(0, 1))

    def take(self, state: Tensor, mask: Bool[Tensor, " n"]) -> Tensor:
        return state[mask]

    def _reads(self, observed: Float[Tensor, "n f"], action: Tensor) -> Float[Tensor, "n m"]:
        one = observed.new_ones(len(observed), 1)
        return torch.cat([observed, self.actions.encode(action).double(), one], -1)


def baselines(
    adapter: "WorldModel",
    horizons: Sequence[int] = HORIZONS,
    *,
    limit: int | None = None,
    records: TensorDict | None = None,
    train: TensorDict | None = None,
) -> dict[str, OpenLoop]:
    """Errors of `persistence` and of the `linear` model, from the starts of `open_loop`.

    The linear model is left out where it would have too many numbers.

    Args:
        adapter: of a model that knows the scale of the data.
        horizons: steps after the last observation, rising.
        limit: how many starts at most, evenly spaced; None: all that there are.
        records: of whole episodes, to measure on; None: the held-out ones.
        train: of whole episodes, to fit to; None: those that were trained on.
    """
    records = adapter.source.records("valid") if records is None else records
    train = adapter.source.records("train") if train is None else train
    dynamics = copy.deepcopy(adapter.dynamics).cpu()  # double precision is not everywhere
    rivals: dict[str, Forecaster[Any]] = {"persistence": Persistence(Usual.of(train))}
    if LeastSquares.num_read(dynamics) <= MOST_READ:
        rivals["linear"] = LeastSquares(dynamics, train)
    starts = Starts.of(records, context=adapter.config.context, limit=limit)
    return {
        name: measure_errors(dynamics, rival, records, starts, horizons, adapter.config.context)
        for name, rival in rivals.items()
    }


def _acted(records: TensorDict) -> Bool[Tensor, " m"]:
    """Records after which something was done: all but the last of each episode."""
    episode = records["episode"].cpu()
    acted = torch.zeros(len(episode), dtype=torch.bool)
    acted[:-1] = episode[1:] == episode[:-1]
    return acted


def _pairs(records: TensorDict) -> Iterator[tuple[TensorDict, TensorDict]]:
    """Records and those that followed them, a portion at a time."""
    rows = _acted(records).nonzero()[:, 0]
    if len(rows) > MOST_RECORDS:
        rows = rows[torch.linspace(0, len(rows) - 1, MOST_RECORDS).long()]
    for some in rows.split(PORTION):
        yield records[some], records[some + 1]

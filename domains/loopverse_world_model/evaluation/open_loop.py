"""Open-loop error: how far imagination is from what happened, so many steps after the last observation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from tensordict import TensorDict
from torch import Tensor

from loopverse.analysis import estimate
from loopverse.domain import Think
from loopverse.exhibit import Estimate
from loopverse_world_model.dynamics import CONTINUE, REWARD, Dynamics
from loopverse_world_model.evaluation.forecasting import (
    Forecaster,
    Look,
    ModelForecaster,
    follow,
)
from loopverse_world_model.evaluation.starts import Starts

if TYPE_CHECKING:
    from loopverse_world_model.adapter import WorldModel

HORIZONS = (1, 2, 5, 10, 20, 50, 100)


@dataclass
class OpenLoop:
    """Errors by horizon and episode, from which means, intervals and comparisons follow.

    Vectors, images and the reward count in standard deviations of the training data, categories and
    bits as the share that is wrong, and of whether the episode goes on it is the Brier score, the mean
    square of what its probability misses by.

    Attributes:
        horizons: those that some episode is long enough for.
        counts: starts of each episode, `[h e]`.
        whole: squared error of the observation, a mean over numbers, then leaves, summed over starts.
        heads: the same of each part that is predicted, by its name.
        rooted: names of those whose mean is shown as its root.
    """

    horizons: tuple[int, ...]
    counts: Float[Tensor, "h e"]
    whole: Float[Tensor, "h e"]
    heads: dict[str, Float[Tensor, "h e"]]
    rooted: frozenset[str]

    def num_starts(self, horizon: int) -> int:
        """Starts that the error at a horizon is a mean over."""
        return int(self._at(self.counts, horizon).sum())

    def num_episodes(self, horizon: int) -> int:
        """Episodes that these are in."""
        return int((self._at(self.counts, horizon) > 0).sum())

    def error(self, horizon: int, head: str | None = None) -> Estimate | None:
        """The error with its 95 % interval over episodes; None where no episode is that long.

        Args:
            horizon: steps after the last observation.
            head: a part; None: the observation as a whole.
        """
        if horizon not in self.horizons:
            return None
        values, weights = self.per_episode(horizon, head)
        found = estimate(values, weights)
        if not self._is_rooted(head):
            return found
        root = math.sqrt(found.value)
        margin = found.margin
        return Estimate(root, None if margin is None else margin / (2 * max(root, 1e-30)))

    def difference(
        self, other: "OpenLoop", horizon: int, head: str | None = None
    ) -> Estimate | None:
        """This error less the other's, from the same starts: pairs of episodes, so the interval is narrow.

        The variance of a root is that of the mean square over twice the root (the delta method).
        """
        if horizon not in self.horizons:
            return None
        assert torch.equal(self._at(self.counts, horizon), other._at(other.counts, horizon))
        mine, weights = self.per_episode(horizon, head)
        others, _ = other.per_episode(horizon, head)
        total = sum(weights)
        means = [
            sum(w * v for w, v in zip(weights, vs, strict=True)) / total for vs in (mine, others)
        ]
        scales = [1.0, 1.0]
        if self._is_rooted(head):
            means = [math.sqrt(mean) for mean in means]
            scales = [2 * max(mean, 1e-30) for mean in means]
        pairs = [m / scales[0] - o / scales[1] for m, o in zip(mine, others, strict=True)]
        return estimate(pairs, weights, means[0] - means[1])

    def per_episode(self, horizon: int, head: str | None = None) -> tuple[list[float], list[float]]:
        """Mean squared errors of the episodes that are long enough, and how many starts each has."""
        counts = self._at(self.counts, horizon)
        totals = self._at(self.whole if head is None else self.heads[head], horizon)
        there = counts > 0
        return (totals[there] / counts[there]).tolist(), counts[there].tolist()

    def _at(self, table: Tensor, horizon: int) -> Tensor:
        return table[self.horizons.index(horizon)]

    def _is_rooted(self, head: str | None) -> bool:
        return head is None or head in self.rooted


def open_loop(
    adapter: "WorldModel",
    think: Think,
    horizons: Sequence[int] = HORIZONS,
    *,
    limit: int | None = None,
    records: TensorDict | None = None,
) -> OpenLoop:
    """Imagine from held-out observations under the actions that were taken.

    Args:
        adapter: of a trained model.
        think: its core, with a number of loops bound to it.
        horizons: steps after the last observation, rising.
        limit: how many starts at most, evenly spaced; None: all that there are.
        records: of whole episodes; None: the held-out ones.

    Raises:
        ValueError: no episode is long enough for a start.
    """
    records = adapter.source.records("valid") if records is None else records
    context = adapter.config.context
    starts = Starts.of(records, context=context, limit=limit)
    model = ModelForecaster(adapter.dynamics, think)
    return measure_errors(adapter.dynamics, model, records, starts, horizons, context)


def measure_errors(
    dynamics: Dynamics,
    forecaster: Forecaster[Any],
    records: TensorDict,
    starts: Starts,
    horizons: Sequence[int],
    context: int = 1,
) -> OpenLoop:
    """The errors of any forecaster, in the units of a model; arguments as in `follow`."""
    looks = follow(forecaster, records, starts, sorted(horizons), context)
    reached: list[int] = []
    tables: dict[str | None, list[Tensor]] = {}
    counts: list[Tensor] = []
    for look in looks:
        reached.append(look.horizon)
        counts.append(_by_episode(torch.ones(len(look.starts)), look.starts))
        for name, errors in squared_errors(dynamics, look).items():
            tables.setdefault(name, []).append(_by_episode(errors, look.starts))
    stacked = {name: torch.stack(rows) for name, rows in tables.items()}
    whole = stacked.pop(None)
    heads = {name: table for name, table in stacked.items() if name is not None}
    rooted = {leaf.path for leaf in dynamics.observed if leaf.kind in ("vector", "image")}
    return OpenLoop(tuple(reached), torch.stack(counts), whole, heads, frozenset({*rooted, REWARD}))


def squared_errors(dynamics: Dynamics, look: Look) -> dict[str | None, Float[Tensor, " n"]]:
    """Errors of every start by head, as `OpenLoop` counts them; under None, of the whole observation."""
    forecast = look.forecast
    errors: dict[str | None, Tensor] = {
        leaf.path: dynamics.leaf(leaf)
        .error(forecast.observation[leaf.path], look.observation[leaf.path])
        .mean(-1)
        for leaf in dynamics.observed
    }
    errors[None] = torch.stack(list(errors.values())).mean(0)
    errors[REWARD] = dynamics.reward.error(forecast.reward, look.reward).mean(-1)
    errors[CONTINUE] = (forecast.keep_going - (1 - look.terminated)).square()
    return errors


def _by_episode(values: Tensor, starts: Starts) -> Tensor:
    """Sums over the starts of each episode, `[e]`."""
    total = torch.zeros(starts.num_episodes, dtype=torch.float64)
    return total.index_add_(0, starts.episode, values.double().cpu())

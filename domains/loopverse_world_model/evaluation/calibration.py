"""Calibration: whether what is said to happen so often happens so often."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Bool, Float, Int
from tensordict import TensorDict
from torch import Tensor
from torch.distributions import Independent, Normal

from loopverse.analysis import estimate
from loopverse.domain import Think
from loopverse.exhibit import Estimate
from loopverse_world_model.dynamics import CONTINUE, REWARD, Dynamics
from loopverse_world_model.evaluation.forecasting import Look, ModelForecaster, follow
from loopverse_world_model.evaluation.open_loop import HORIZONS
from loopverse_world_model.evaluation.starts import Starts
from loopverse_world_model.leaves import VectorLeaf
from loopverse_world_model.statistics import SMALL

if TYPE_CHECKING:
    from loopverse_world_model.adapter import WorldModel

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Probabilities of the central intervals that are looked at."""
BINS = 10


@dataclass
class Coverage:
    """How often numbers lie in the central intervals of what was predicted, by horizon and episode.

    Attributes:
        horizons: those that some episode is long enough for.
        counts: starts of each episode, `[h e]`.
        inside: sums over starts of the share of numbers within, by level, `[h e]`.
    """

    horizons: tuple[int, ...]
    counts: Float[Tensor, "h e"]
    inside: dict[float, Float[Tensor, "h e"]]

    def share(self, horizon: int, level: float) -> Estimate | None:
        """The share within, with its 95 % interval over episodes; None where no episode is that long."""
        if horizon not in self.horizons:
            return None
        row = self.horizons.index(horizon)
        there = self.counts[row] > 0
        counts, inside = self.counts[row][there], self.inside[level][row][there]
        return estimate((inside / counts).tolist(), counts.tolist())

    @property
    def off(self) -> float:
        """Mean distance of the shares from their levels, over levels and horizons; 0 is perfect."""
        distances = [
            (table.sum(1) / self.counts.sum(1) - level).abs().mean()
            for level, table in self.inside.items()
        ]
        return float(torch.stack(distances).mean())


@dataclass
class Reliability:
    """How often something happens that is said to have some probability, in bins of equal size.

    Attributes:
        predicted: mean probability of each bin.
        happened: share of each bin in which it happened, with its interval over episodes.
        off: mean distance of the two, over predictions (the expected calibration error).
    """

    predicted: list[float]
    happened: list[Estimate]
    off: float


@dataclass
class Calibration:
    """Of numbers by their intervals, of everything else by its probabilities.

    Attributes:
        coverage: of vectors and the reward; None where nothing of the kind varies. Pictures are left out.
        reliability: of the category that is held for the most likely, of bits being one, and of the
            episode going on, by their names; of what always came true, or never, there is none.
    """

    coverage: Coverage | None
    reliability: dict[str, Reliability]


def calibration(
    adapter: "WorldModel",
    think: Think,
    horizons: Sequence[int] = HORIZONS,
    *,
    limit: int | None = None,
    records: TensorDict | None = None,
) -> Calibration:
    """Hold predictive distributions against held-out episodes; arguments as in `open_loop`."""
    records = adapter.source.records("valid") if records is None else records
    context, dynamics = adapter.config.context, adapter.dynamics
    starts = Starts.of(records, context=context, limit=limit)
    model = ModelForecaster(dynamics, think)
    reached: list[int] = []
    counts: list[Tensor] = []
    inside: dict[float, list[Tensor]] = {level: [] for level in LEVELS}
    said: dict[str, list[_Said]] = {}
    for look in follow(model, records, starts, sorted(horizons), context):
        reached.append(look.horizon)
        counts.append(_by_episode(torch.ones(len(look.starts)), look.starts))
        distances = _distances(dynamics, look)
        for level, rows in inside.items():
            if distances is not None:
                within = (distances < _half_width(level)).float().mean(-1)
                rows.append(_by_episode(within, look.starts))
        for name, one in _probabilities(dynamics, look).items():
            said.setdefault(name, []).append(one)
    coverage = None
    if inside[LEVELS[0]]:
        tables = {level: torch.stack(rows) for level, rows in inside.items()}
        coverage = Coverage(tuple(reached), torch.stack(counts), tables)
    joined = {name: _Said.joined(parts) for name, parts in said.items()}
    varied = {name: one for name, one in joined.items() if len(one.happened.unique()) > 1}
    return Calibration(coverage, {name: _reliability(one) for name, one in varied.items()})


@dataclass
class _Said:
    """Probabilities that were given, whether it happened, and in which episode, `[m]` each."""

    chance: Float[Tensor, " m"]
    happened: Float[Tensor, " m"]
    episode: Int[Tensor, " m"]

    @classmethod
    def joined(cls, parts: "Sequence[_Said]") -> "_Said":
        """All of them, one after the other."""
        return cls(
            torch.cat([part.chance for part in parts]),
            torch.cat([part.happened for part in parts]),
            torch.cat([part.episode for part in parts]),
        )


def _half_width(level: float) -> float:
    """Standard deviations on either side of the mean of a normal distribution."""
    return float(Normal(0.0, 1.0).icdf(torch.tensor((1 + level) / 2)))


def _distances(dynamics: Dynamics, look: Look) -> Float[Tensor, "n m"] | None:
    """Of every number that varies, deviations between its mean and what it was; None: there is none."""
    prediction, targets = look.forecast.prediction, _targets(dynamics, look)
    assert prediction is not None
    models = {
        leaf.path: model
        for leaf in dynamics.observed
        if isinstance(model := dynamics.leaf(leaf), VectorLeaf)
    }
    found = []
    for name, model in {**models, REWARD: dynamics.reward}.items():
        normal = cast(Normal, cast(Independent, prediction.parts[name]).base_dist)
        distance = ((targets[name] - normal.loc) / normal.scale).abs()
        found.append(distance[:, _varies(model)])
    distances = torch.cat(found, -1)
    return distances if distances.shape[1] > 0 else None


def _varies(model: VectorLeaf) -> Bool[Tensor, " n"]:
    return model.high - model.low > SMALL


def _probabilities(dynamics: Dynamics, look: Look) -> dict[str, _Said]:
    """What was given a probability, by the part it belongs to."""
    prediction, targets = look.forecast.prediction, _targets(dynamics, look)
    assert prediction is not None
    kinds = {leaf.path: leaf.kind for leaf in dynamics.observed} | {CONTINUE: "bits"}
    said = {}
    for name, kind in kinds.items():
        if kind not in ("categories", "bits"):
            continue
        part = cast(Independent, prediction.parts[name]).base_dist
        if kind == "bits":
            chance, happened = part.mean, targets[name].float()
        else:
            chance, likely = part.probs.max(-1)
            happened = (likely == targets[name]).float()
        episode = look.starts.episode[:, None].expand(-1, chance.shape[1])
        said[name] = _Said(chance.flatten().cpu(), happened.flatten().cpu(), episode.flatten())
    return said


def _targets(dynamics: Dynamics, look: Look) -> dict[str, Tensor]:
    prediction = look.forecast.prediction
    assert prediction is not None
    assert prediction.origin is not None
    return dynamics.targets(prediction.origin, look.observation, look.reward, look.terminated)


def _reliability(said: _Said) -> Reliability:
    chance, happened, episode = said.chance, said.happened, said.episode
    order = chance.argsort(stable=True)
    predicted, shares, off = [], [], 0.0
    for rows in order.tensor_split(min(BINS, len(order))):
        predicted.append(float(chance[rows].mean()))
        values, weights = [], []
        for number in episode[rows].unique():
            mine = happened[rows][episode[rows] == number]
            values.append(float(mine.mean()))
            weights.append(float(len(mine)))
        shares.append(estimate(values, weights))
        off += len(rows) / len(order) * abs(predicted[-1] - shares[-1].value)
    return Reliability(predicted, shares, off)


def _by_episode(values: Tensor, starts: Starts) -> Tensor:
    total = torch.zeros(starts.num_episodes, dtype=torch.float64)
    return total.index_add_(0, starts.episode, values.double().cpu())

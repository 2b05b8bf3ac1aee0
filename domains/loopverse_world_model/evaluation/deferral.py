"""Decoding every step of a rollout, or only the last: what each costs, and how far off it is."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from tensordict import TensorDict
from torch import Tensor

from loopverse.domain import Think
from loopverse.exhibit import Estimate
from loopverse.nn import reuse_weights
from loopverse_world_model.evaluation.forecasting import Forecaster, ModelForecaster, Moved
from loopverse_world_model.evaluation.open_loop import measure_errors
from loopverse_world_model.evaluation.starts import Starts
from loopverse_world_model.rereading import reread

if TYPE_CHECKING:
    from loopverse_world_model.adapter import WorldModel

STEPS = (1, 2, 5, 10, 20)
REPEATS = 3


class Deferring(ModelForecaster):
    """Steps read the state and the action; nothing is decoded before the end."""

    def act(self, state: Moved, action: Tensor) -> Moved:
        memory = state.memory
        if state.readout is not None:
            memory = replace(memory, fresh=torch.zeros_like(memory.fresh), age=memory.age + 1)
        return Moved(*self._advance(memory, action))


class Decoding(ModelForecaster):
    """Every step is decoded and read by the next one."""

    def __init__(self, adapter: "WorldModel", think: Think) -> None:
        super().__init__(adapter.dynamics, think)
        self.adapter = adapter

    def act(self, state: Moved, action: Tensor) -> Moved:
        if state.readout is None or self.dynamics.decoded:
            return super().act(state, action)
        memory = reread(self.adapter, state.memory, self.forecast(state).observation)
        return Moved(*self._advance(memory, action))


@dataclass
class Deferral:
    """Two ways to the same step.

    Attributes:
        horizon: steps from the last observation.
        deferred: error of decoding there only, as in `OpenLoop.error`.
        every: error of decoding, and reading, every step.
        deferred_seconds: that the first took, all starts together; the median of a few.
        every_seconds: that the second took, measured in turns with it.
    """

    horizon: int
    deferred: Estimate
    every: Estimate
    deferred_seconds: float
    every_seconds: float


@torch.no_grad()
def deferral(
    adapter: "WorldModel",
    think: Think,
    horizons: Sequence[int] = STEPS,
    *,
    limit: int = 256,
    records: TensorDict | None = None,
) -> list[Deferral]:
    """Compare both ways with one model, at the horizons that a held-out episode is long enough for.

    Of the two, a model was trained for one; what it loses by the other one is not what a model loses
    that was trained for that.

    Args:
        adapter: of a trained model.
        think: its core, with a number of loops bound to it.
        horizons: steps from the last observation.
        limit: how many starts at most, evenly spaced.
        records: of whole episodes; None: the held-out ones.
    """
    records = adapter.source.records("valid") if records is None else records
    context, found = adapter.config.context, []
    longest = int(Starts.of(records, context=context).left.max())
    ways: list[Forecaster[Moved]] = [
        Deferring(adapter.dynamics, think),
        Decoding(adapter, think),
    ]
    for horizon in (steps for steps in horizons if steps <= longest):
        starts = Starts.of(records, context=context, limit=limit, needed=horizon)
        errors = []
        for way in ways:
            measured = measure_errors(adapter.dynamics, way, records, starts, [horizon], context)
            error = measured.error(horizon)
            assert error is not None  # every start has so many transitions left
            errors.append(error)
        past = starts.past(records, context)
        actions = [records["action"][starts.rows + step] for step in range(horizon)]
        seconds: list[list[float]] = [[], []]
        for _ in range(REPEATS):
            for way, taken in zip(ways, seconds, strict=True):
                taken.append(_seconds(way, past, actions))
        medians = [statistics.median(taken) for taken in seconds]
        found.append(Deferral(horizon, errors[0], errors[1], medians[0], medians[1]))
    return found


def _seconds(way: Forecaster[Moved], past: TensorDict, actions: list[Tensor]) -> float:
    with reuse_weights():
        began = time.perf_counter()
        state = way.begin(past)
        for action in actions:
            state = way.act(state, action)
        float(way.forecast(state).reward.sum())  # waits for the device
        return time.perf_counter() - began

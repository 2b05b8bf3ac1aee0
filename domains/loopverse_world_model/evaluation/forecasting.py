"""Forecasts of what follows a start under known actions, by a model or by something simpler."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import torch
from jaxtyping import Bool, Float
from tensordict import TensorDict
from torch import Tensor

from loopverse.domain import Think
from loopverse_world_model.dynamics import Dynamics
from loopverse_world_model.evaluation.starts import Starts
from loopverse_world_model.memory import Memory
from loopverse_world_model.prediction import Origin, TransitionDistribution

State = TypeVar("State")


@dataclass
class Forecast:
    """What a step is expected to bring.

    Attributes:
        observation: raw, by leaf, `[n]`.
        reward: of the step, `[n]`.
        keep_going: probability that the episode does not end with it, `[n]`.
        prediction: distributions in the units of the heads, of a forecaster that has them.
    """

    observation: TensorDict
    reward: Float[Tensor, " n"]
    keep_going: Float[Tensor, " n"]
    prediction: TransitionDistribution | None = None


class Forecaster(ABC, Generic[State]):
    """Sees what led to a start, is then told actions only, and says what they bring."""

    @abstractmethod
    def begin(self, past: TensorDict) -> State:
        """The state after the records `[n context]`, of which the last observation is the start."""

    @abstractmethod
    def act(self, state: State, action: Tensor) -> State:
        """The state after an action, raw, `[n ...]`."""

    @abstractmethod
    def forecast(self, state: State) -> Forecast:
        """What the last action brought."""

    @abstractmethod
    def take(self, state: State, mask: Bool[Tensor, " n"]) -> State:
        """Some of the rows."""


@dataclass
class Moved:
    """Where a model is after a step.

    Attributes:
        memory: as `Dynamics.advance` returned it.
        readout: what is predicted from, `[n t d]`; None: no step has been imagined yet.
    """

    memory: Memory
    readout: Float[Tensor, "n t d"] | None


class ModelForecaster(Forecaster[Moved]):
    """The world model, which predicts only where it is asked to, or has to read what it decoded.

    Args:
        dynamics: of the model.
        think: its core, with a number of loops bound to it.
    """

    def __init__(self, dynamics: Dynamics, think: Think) -> None:
        self.dynamics, self.think = dynamics, think

    def begin(self, past: TensorDict) -> Moved:
        past = past.to(self.dynamics.device)
        observed, acted = cast(TensorDict, past["observation"]), cast(Tensor, past["action"])
        memory = self.dynamics.begin(past.batch_size[0])
        last = past.batch_size[1] - 1
        for step in range(last):
            memory = self.dynamics.observe(memory, observed[:, step])
            memory, _ = self._advance(memory, acted[:, step])
        return Moved(self.dynamics.observe(memory, observed[:, last]), None)

    def act(self, state: Moved, action: Tensor) -> Moved:
        memory = state.memory
        if state.readout is not None:
            memory = self.dynamics.imagined(memory, state.readout)
        return Moved(*self._advance(memory, action))

    def forecast(self, state: Moved) -> Forecast:
        assert state.readout is not None  # whoever asks has acted
        outputs = self.dynamics.outputs(state.readout.flatten(1))
        origin = Origin(state.memory.base, state.memory.age)
        return Forecast(
            self.dynamics.decode(outputs, origin),
            self.dynamics.expected_reward(outputs),
            self.dynamics.chance_to_go_on(outputs),
            self.dynamics.distribution(outputs, origin),
        )

    def take(self, state: Moved, mask: Bool[Tensor, " n"]) -> Moved:
        mask = mask.to(state.memory.age.device)
        readout = None if state.readout is None else state.readout[mask]
        return Moved(state.memory.take(mask), readout)

    def _advance(self, memory: Memory, action: Tensor) -> tuple[Memory, Tensor]:
        action = self.dynamics.actions.encode(action.to(self.dynamics.device))
        memory, thought = self.dynamics.advance(self.think, memory, action)
        return memory, thought.z


@dataclass
class Look:
    """A forecast, and what happened.

    Attributes:
        horizon: steps from the start.
        starts: those whose episodes are that long.
        forecast: for each of them.
        observation: what was observed, raw, `[n]`.
        reward: of the last of the steps, `[n]`.
        terminated: 1 where that step ended the episode in a terminal state, `[n]`.
    """

    horizon: int
    starts: Starts
    forecast: Forecast
    observation: TensorDict
    reward: Float[Tensor, " n"]
    terminated: Float[Tensor, " n"]


@torch.no_grad()
def follow(
    forecaster: Forecaster[State],
    records: TensorDict,
    starts: Starts,
    horizons: Sequence[int],
    context: int = 1,
) -> Iterator[Look]:
    """Compare forecasts with what followed, at every horizon that an episode is long enough for.

    Args:
        forecaster: who says what comes.
        records: of whole episodes.
        starts: where to begin.
        horizons: steps from the start, rising.
        context: observations that are seen, the start the last of them.
    """
    state, step = forecaster.begin(starts.past(records, context)), 0
    for horizon in horizons:
        long_enough = starts.left >= horizon
        starts = starts.take(long_enough)
        if len(starts) == 0:
            return
        state = forecaster.take(state, long_enough)
        while step < horizon:
            state = forecaster.act(state, records["action"][starts.rows + step])
            step += 1
        forecast = forecaster.forecast(state)
        device = forecast.reward.device
        acted = starts.rows + step - 1
        yield Look(
            horizon,
            starts,
            forecast,
            records["observation"][starts.rows + step].to(device),
            cast(Tensor, records["reward"])[acted].to(device),
            cast(Tensor, records["terminated"])[acted].float().to(device),
        )

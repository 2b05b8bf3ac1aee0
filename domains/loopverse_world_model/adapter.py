"""The dynamics of an environment: what follows from an observation and actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import torch
import torchmetrics
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tensordict import TensorDict
from torch import Tensor
from torch.distributions import Distribution

from loopverse.domain import DomainAdapter, Outcome, Split, Think, Thought
from loopverse.errors import UserError
from loopverse.exhibit import Exhibit
from loopverse.nn import Attend, CoreInput, reuse_weights
from loopverse_world_model.actions import ActionCodec
from loopverse_world_model.beginnings import beginnings_of, load_beginnings, save_beginnings
from loopverse_world_model.config import WorldModelConfig
from loopverse_world_model.deferred import LatentLosses, horizon_at
from loopverse_world_model.dynamics import CONTINUE, Dynamics
from loopverse_world_model.memory import Memory
from loopverse_world_model.metrics import RootMeanError
from loopverse_world_model.prediction import Origin, TransitionDistribution
from loopverse_world_model.spaces import leaves_of, space_from_json
from loopverse_world_model.terminal_value import Returns

if TYPE_CHECKING:
    from loopverse_world_model.sources import Source

STATISTICS = "statistics.safetensors"


class WorldModel(DomainAdapter):
    """Windows of episodes: a few observed steps, then imagined ones; a loss where things are decoded.

    Raises:
        ValueError: spaces that cannot be modelled, or sizes that cannot be.
    """

    Config = WorldModelConfig
    metric = "rollout_error_std"
    unit = "transitions"
    suggestions: ClassVar[dict[str, str]] = {
        "loopverse plan {run}": "play the environment by planning in what the model imagines"
    }
    config: WorldModelConfig

    def __init__(self, config: WorldModelConfig, width: int) -> None:
        super().__init__(config, width)
        self.observation_space = space_from_json(config.observation_space)
        self.action_space = space_from_json(config.action_space)
        self.dynamics = Dynamics(
            leaves_of(self.observation_space, "observation"),
            leaves_of(self.action_space, "action"),
            width,
            tokens=config.tokens,
            horizon=max(config.horizon, 100),
            squash=config.symlog,
            anchored=config.predict == "change",
            decoded=config.imagine != "latent",
            carried=config.imagine != "markov",
            value_steps=config.value_steps,
        )
        self.latent = None
        if config.decode == "deferred":
            self.latent = LatentLosses(
                config.tokens * width,
                self.dynamics.num_features,
                config.latent_weight,
                config.smooth_weight,
                config.smooth_limit,
            )
        self._source: Source | None = None
        self._beginnings: TensorDict | None = None
        self._fitted = False

    @property
    def actions(self) -> ActionCodec:
        """How actions are encoded for a planner."""
        return self.dynamics.actions

    def batches(
        self,
        split: Split,
        *,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[TensorDict]:
        config = self.config
        windows = self.source.windows(split)
        if split == "valid":
            length = config.context - 1 + config.horizon
            return windows.once(batch_size, length, start=start, rank=rank, world_size=world_size)

        def steps(number: int) -> int:
            return config.context - 1 + horizon_at(number, config.horizon, config.growth)

        batches = windows.random(
            batch_size, steps, seed=seed, start=start, rank=rank, world_size=world_size
        )
        return batches if config.value_steps == 0 else self._with_returns(batches)

    def embed(self, batch: TensorDict) -> CoreInput:
        """The first step of every window, as the core reads it."""
        action = self.dynamics.actions.encode(cast(Tensor, batch["action"])[:, 0])
        return CoreInput(self.dynamics.reads(self._first(batch), action), Attend(causal=False))

    def predict(self, z: Float[Tensor, "b t d"]) -> TransitionDistribution:
        return self.dynamics.predict(z)

    def forward(self, think: Think, batch: TensorDict) -> Outcome:
        """Observe `context` steps, imagine the others, and decode them all or only the last."""
        features = self.dynamics.features(cast(TensorDict, batch["observation"]))
        with reuse_weights():
            thoughts, origins = self._imagined(think, batch, features)
        deferred = self.latent if self.training else None
        first = 0 if deferred is None else len(thoughts) - 1
        thought, origin = Thought.joined(thoughts[first:]), Origin.stacked(origins[first:])
        outcomes = []
        for z in thought.readouts:
            prediction = self.predict(z)
            prediction.origin = origin
            outcomes.append(self.loss(prediction, batch))
        outcome = thought.weigh(outcomes)
        if deferred is not None:
            states = torch.stack([one.result.z.flatten(1) for one in thoughts], 1)
            penalty = deferred(states, features[:, 1:], cast(Tensor, batch["weights"]))
            outcome.penalty = penalty if outcome.penalty is None else outcome.penalty + penalty
        value = self.dynamics.terminal_value
        if self.training and value is not None:
            penalty = value.loss(features, batch["return"], batch["return_known"])
            outcome.penalty = penalty if outcome.penalty is None else outcome.penalty + penalty
        return outcome

    def _with_returns(self, batches: Iterator[TensorDict]) -> Iterator[TensorDict]:
        """Batches with the return that followed each observation, and whether it is known."""
        returns = Returns.of(self.source.replay.records, self.config.value_steps)
        for batch in batches:
            value, known = returns.windows(batch["id"], batch["weights"].shape[1])
            yield batch.update({"return": value, "return_known": known})

    def _imagined(
        self, think: Think, batch: TensorDict, features: Float[Tensor, "b t f"]
    ) -> tuple[list[Thought], list[Origin]]:
        """What was thought at every step of the windows, and what its predictions are counted from."""
        dynamics, observed = self.dynamics, cast(TensorDict, batch["observation"])
        actions = dynamics.actions.encode(cast(Tensor, batch["action"]))
        memory = dynamics.begin(len(actions))
        thoughts: list[Thought] = []
        origins: list[Origin] = []
        length = actions.shape[1]
        for step in range(length):
            if step < self.config.context:
                memory = dynamics.observe(memory, observed[:, step], features[:, step])
            memory, thought = dynamics.advance(think, memory, actions[:, step], step / length)
            thoughts.append(thought)
            origins.append(Origin(memory.base, memory.age))
            memory = dynamics.imagined(memory, thought.z)
        return thoughts, origins

    def loss(self, prediction: Distribution, batch: TensorDict) -> Outcome:
        """The negative log-likelihood of the last steps of the windows, as many as are predicted.

        In nats, per transition, in the units of the heads: a density of standardised numbers. In training,
        weighed by `beta` and `end_weight` (`TransitionDistribution.loss`).
        """
        assert isinstance(prediction, TransitionDistribution)
        origin = prediction.origin
        assert origin is not None  # `forward` knows what changes are counted from
        steps, tokens = origin.age.shape[1], self.config.tokens
        observed = cast(TensorDict, batch["observation"])
        targets = self.dynamics.targets(
            origin,
            observed[:, -steps:],
            cast(Tensor, batch["reward"])[:, -steps:],
            cast(Tensor, batch["terminated"])[:, -steps:],
        )
        if self.training:
            nats = prediction.loss(targets, self.config.beta, {CONTINUE: self.config.end_weight})
        else:
            nats = -prediction.log_prob(targets)
        weights = cast(Tensor, batch["weights"])[:, -steps:]
        nats = torch.where(weights > 0, nats, torch.zeros_like(nats))
        if (
            tokens > 1
        ):  # one loss for every unit of the state; together they count as one transition
            nats = nats.repeat_interleave(tokens, 1)
            weights = weights.repeat_interleave(tokens, 1) / tokens
        return Outcome(nats, weights, prediction=prediction)

    def metrics(self) -> dict[str, torchmetrics.Metric]:
        return {self.metric: RootMeanError(), "nats_per_transition": torchmetrics.MeanMetric()}

    def measure(
        self, metrics: dict[str, torchmetrics.Metric], outcome: Outcome, batch: TensorDict
    ) -> None:
        prediction = outcome.prediction
        assert isinstance(prediction, TransitionDistribution)
        metrics["nats_per_transition"].update(outcome.losses, outcome.weights)
        squares = self.dynamics.errors(prediction, cast(TensorDict, batch["observation"]))
        steps = squares.shape[1]
        metrics[self.metric].update(squares, cast(Tensor, batch["weights"])[:, -steps:])

    def exhibits(
        self, think_at: Callable[[int], Think], loops: Sequence[int], trained: int
    ) -> Iterator[Exhibit]:
        from loopverse_world_model.evaluation import exhibits  # which only evaluation needs

        return exhibits(self, think_at, loops, trained)

    def difficulties(self, outcome: Outcome, batch: TensorDict) -> dict[str, Tensor]:
        from loopverse_world_model.evaluation import difficulties  # which only evaluation needs

        return difficulties(self, outcome, batch)

    def allocation(self, think: Think, batch: TensorDict) -> Iterator[Exhibit]:
        from loopverse_world_model.evaluation import allocation  # likewise

        return allocation(self, think)

    def save_assets(self, folder: Path) -> None:
        """Write the scale of the data, which what is read and predicted is counted in, and first observations."""
        save_file(self._statistics(), folder / STATISTICS)
        save_beginnings(self.beginnings, folder)

    def load_assets(self, folder: Path) -> None:
        """Take the scale of the data of a run, and the first observations of its episodes.

        Raises:
            ValueError: it is missing or damaged, or of other spaces.
        """
        path, own = folder / STATISTICS, self._statistics()
        try:
            loaded = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{path} is missing or damaged: copy it from the run the model is of"
            ) from error
        shapes = {name: list(value.shape) for name, value in loaded.items()}
        expected = {name: list(value.shape) for name, value in own.items()}
        if shapes != expected:
            raise UserError(
                f"{path} is of other spaces than this model: expected {expected}, got {shapes}"
            )
        for name, value in own.items():
            value.copy_(loaded[name])
        self._beginnings = load_beginnings(folder, self.dynamics.observed)
        self._fitted = True

    @property
    def beginnings(self) -> TensorDict:
        """First observations of episodes, raw, by leaf: those kept with the run, or those of the data."""
        if self._beginnings is None:
            self._beginnings = beginnings_of(self.source.records("train"))
        return self._beginnings

    @property
    def source(self) -> Source:
        """The episodes of this run: found, imported or played when they are first asked for.

        Raises:
            ValueError: an environment or a folder that cannot be used.
        """
        if self._source is None:
            from loopverse_world_model.sources import (
                open_source,
            )  # it imports gymnasium and torchrl

            self._source = open_source(self.config)
            if not self._fitted:
                self.dynamics.fit(self._source.records("train"))
                self._fitted = True
        return self._source

    def _statistics(self) -> dict[str, Tensor]:
        kept = self.state_dict()
        return {name: value for name, value in self.named_buffers() if name not in kept}

    def _first(self, batch: TensorDict) -> Memory:
        """The memory at the first step of every window."""
        first = cast(TensorDict, batch["observation"])[:, 0]
        return self.dynamics.observe(self.dynamics.begin(batch.batch_size[0]), first)

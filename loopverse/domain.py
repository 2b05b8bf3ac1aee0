"""The contract of a domain: what it must answer, so that everything else works for it.

A domain turns a batch into something to read, and a final state into a prediction and a loss. The
core in between is not its business. One batch, one direction:

`batches -> prepare(rng) -> .to(device) -> embed -> think -> predict -> loss -> backward`
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
import torchmetrics
from jaxtyping import Bool, Float, Int
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributions import Distribution

from loopverse.depth import Lesson, LoopResult
from loopverse.exhibit import Exhibit
from loopverse.nn import CoreInput

Split = Literal["train", "valid"]


@dataclass
class Outcome:
    """Losses of a batch, one per unit; always a mean, never a sum.

    Attributes:
        losses: one per unit (token, transition), in nats where that has a meaning.
        weights: how much each unit counts; 0 for padding.
        penalty: a scalar that is added to the mean, or None.
        prediction: what the losses were computed from, for metrics.
        depth: loops that each unit got, where there is one loss for each; `Thought.weigh` knows them.
    """

    losses: Float[Tensor, "*units"]
    weights: Float[Tensor, "*units"]
    penalty: Tensor | None = None
    prediction: Distribution | None = None
    depth: Int[Tensor, "*units"] | None = None

    @property
    def num_units(self) -> Tensor:
        """Sum of the weights."""
        return self.weights.sum()

    @property
    def loss(self) -> Tensor:
        """The weighted mean over units, plus the penalty; 0 where nothing counts."""
        mean = (self.losses * self.weights).sum() / self.num_units.clamp(min=1e-9)
        return mean if self.penalty is None else mean + self.penalty


@dataclass
class Thought:
    """What comes back from thinking once.

    Attributes:
        readouts: states to predict from: one, or one per supervised loop.
        result: how the loop went: depth per unit, convergence.
        weights: how much each readout counts per unit; None: there is only one.
        extra: a loss to add per unit; None: nothing.
        lesson: what is learned in place of the weighted losses; None: those.
    """

    readouts: list[Float[Tensor, "b t d"]]
    result: LoopResult
    weights: Float[Tensor, "loops b t"] | None = None
    extra: Float[Tensor, "b t"] | None = None
    lesson: Lesson | None = None

    @property
    def z(self) -> Float[Tensor, "b t d"]:
        """The readout after the last loop."""
        return self.readouts[-1]

    @classmethod
    def joined(cls, thoughts: Sequence["Thought"]) -> "Thought":
        """Several calls as one, their units one after the other on the time axis.

        So what a domain thought step by step is predicted and weighed at once.

        Args:
            thoughts: of the same rows, all supervised at as many loops.
        """
        first, results = thoughts[0], [thought.result for thought in thoughts]
        converged = [result.converged for result in results if result.converged is not None]
        result = LoopResult(
            z=torch.cat([result.z for result in results], 1),
            depth=torch.cat([result.depth for result in results], 1),
            converged=torch.cat(converged, 1) if converged else None,
        )
        weights = [thought.weights for thought in thoughts if thought.weights is not None]
        extras = [thought.extra for thought in thoughts if thought.extra is not None]
        lessons = [thought.lesson for thought in thoughts if thought.lesson is not None]
        logits = [lesson.logits for lesson in lessons]
        return cls(
            [
                torch.cat([thought.readouts[number] for thought in thoughts], 1)
                for number in range(len(first.readouts))
            ],
            result,
            torch.cat(weights, 2) if weights else None,
            torch.cat(extras, 1) if extras else None,
            Lesson(torch.cat(logits, 2), lessons[0].loss) if lessons else None,
        )

    def weigh(self, outcomes: Sequence[Outcome]) -> Outcome:
        """One outcome from that of every readout, as the objective weighs them.

        Raises:
            ValueError: the losses are not one per unit of the state, `[b t]`.
        """
        if not isinstance(outcomes[-1], Outcome):
            raise TypeError(
                f"loss must return an Outcome, got {type(outcomes[-1]).__name__}: "
                "return Outcome(losses, weights, prediction=prediction)"
            )
        if self.weights is None:
            return replace(outcomes[-1], depth=self._depth(outcomes[-1]))
        losses = torch.stack([outcome.losses for outcome in outcomes])
        if losses.shape != self.weights.shape:
            raise ValueError(
                f"a loss on every loop needs one loss per unit, shape {list(self.weights.shape[1:])}, "
                f"got {list(losses.shape[1:])}: return losses of that shape, or use objective=final"
            )
        total = (losses * self.weights).sum(0)
        if self.extra is not None:
            total = total + self.extra
        if self.lesson is not None:
            total = self.lesson.loss(losses, self.lesson.logits)
        penalties = [outcome.penalty for outcome in outcomes if outcome.penalty is not None]
        penalty = torch.stack(penalties).mean() if penalties else None
        last = outcomes[-1]
        return Outcome(total, last.weights, penalty, last.prediction, self._depth(last))

    def _depth(self, outcome: Outcome) -> Tensor | None:
        """Loops of each unit, where there is one loss for each."""
        return self.result.depth if outcome.losses.shape == self.result.depth.shape else None


@runtime_checkable  # beartype, which checks shapes in tests, asks for it
class Think(Protocol):
    """The core with a plan bound to it: all that a domain sees of it."""

    def __call__(
        self,
        inputs: CoreInput,
        carry: Float[Tensor, "b t d"] | None = None,
        outer: float | Float[Tensor, " b"] = 0.0,
        keep: Float[Tensor, "b t"] | None = None,
    ) -> Thought:
        """Read the input as often as the plan says.

        Args:
            inputs: what to read.
            carry: the state to start from, in domains that are recurrent in time.
            outer: where the domain's outer process stands, in [0, 1] (denoising, horizon): 0 where it
                begins, 1 where it ends; one number, or one per row.
            keep: how much of `carry` each unit starts from, in [0, 1], the rest being a new state;
                None: all of it. 0 forgets: where an episode ended, where a token changed.
        """
        ...


@dataclass
class SampleSettings:
    """What a user asks of `loopverse sample`, whatever the domain; a domain reads what it knows.

    Attributes:
        length: units to make.
        temperature: 0 takes the most likely unit.
        top_k: draw among the k most likely; 0: among all.
        top_p: draw among the most likely that together have this probability.
        seed: row n of a batch draws from a generator of its own, seeded by (seed, n).
    """

    length: int = 200
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"the length to sample must be at least 1, got {self.length}")
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (all) or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")


@dataclass
class Sample:
    """A piece of what is being sampled, as soon as it is there.

    Attributes:
        row: which prompt it continues.
        text: the piece, as a person reads it.
        whole: the piece holds the prompt too, and all that there is to say of the row: a text that does
            not grow at its end.
        draft: what the row looks like on the way; it is shown, then replaced, and never kept.
    """

    row: int
    text: str
    whole: bool = False
    draft: bool = False


class DomainAdapter(nn.Module, ABC):
    """What a domain answers. Register it as an entry point of the group `loopverse.domains`.

    The constructor opens no data: a trained model must load where its corpus is not.

    Args:
        config: an instance of `Config`.
        width: channels of the core's state.
    """

    Config: ClassVar[type]
    """A dataclass: the domain's settings, whose defaults run on a laptop."""
    Sampling: ClassVar[type[SampleSettings]] = SampleSettings
    """What can be asked of `sample`: a dataclass that adds the domain's own settings."""
    example: ClassVar[str] = ""
    """A prompt that shows what `sample` can do besides going on from nothing; empty: there is none."""
    metric: ClassVar[str]
    """The headline metric: lower is better, its unit in its name (`bits_per_byte`)."""
    unit: ClassVar[str] = "units"
    """What there is one loss for, as counts of it are shown, in the plural (`tokens`)."""
    suggestions: ClassVar[dict[str, str]] = {}
    """Commands to type once a run is trained, and what for; `{run}` stands for the run folder."""

    def __init__(self, config: Any, width: int) -> None:
        super().__init__()
        self.config = config
        self.width = width

    @abstractmethod
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
        """Batches of a split, on the CPU.

        `train` never ends, and batch `n` depends on `(seed, n, rank)` only, so that `start` skips for
        free when a run resumes. `valid` ends, is the same every time, and is shared out over ranks.
        The key `id`, where a batch has it, names the batch when something is wrong with it.
        """

    def prepare(self, batch: TensorDict, rng: torch.Generator) -> TensorDict:
        """All randomness of training (masks, noise levels), on the CPU; the default has none.

        Called in evaluation too, with a generator that is the same every time. Return a new batch
        (`batch.clone(recurse=False)`) rather than write into the one that was given.
        """
        return batch

    @abstractmethod
    def embed(self, batch: TensorDict) -> CoreInput:
        """What the core reads, `x` of shape `[b t d]`; deterministic."""

    @abstractmethod
    def predict(self, z: Float[Tensor, "b t d"]) -> Distribution:
        """The predictive distribution of each unit, of batch shape `[b t]`."""

    @abstractmethod
    def loss(self, prediction: Distribution, batch: TensorDict) -> Outcome:
        """The loss of each unit, `[b t]`; deterministic."""

    def forward(self, think: Think, batch: TensorDict) -> Outcome:
        """From a prepared batch to its losses. Override it to think more than once."""
        thought = think(self.embed(batch))
        return thought.weigh([self.loss(self.predict(z), batch) for z in thought.readouts])

    def metrics(self) -> dict[str, torchmetrics.Metric]:
        """Fresh metrics by name, `metric` among them; the default is the mean loss."""
        return {self.metric: torchmetrics.MeanMetric()}

    def measure(
        self, metrics: dict[str, torchmetrics.Metric], outcome: Outcome, batch: TensorDict
    ) -> None:
        """Update what `metrics()` returned with one batch."""
        metrics[self.metric].update(outcome.losses, outcome.weights)

    def correct(self, outcome: Outcome, batch: TensorDict) -> Bool[Tensor, "*units"] | None:
        """Which units are predicted right, of the shape of the losses. Optional.

        Where predictions are categories, so that it can be said which loops find the right one and which
        lose it again. None: this domain knows no right and wrong.

        Args:
            outcome: of `forward`, at any depth.
            batch: the prepared batch.
        """
        return None

    def difficulties(
        self, outcome: Outcome, batch: TensorDict
    ) -> dict[str, Float[Tensor, "*units"]]:
        """How difficult each unit is, beside its loss; by name, the larger the harder. Optional.

        What loops are held against: a noise level, a horizon, an error that is not the loss.

        Args:
            outcome: of `forward` at full depth.
            batch: the prepared batch.

        Returns:
            Numbers of the shape of the losses; not a number where a unit has no such difficulty.
        """
        return {}

    def sample(
        self, think: Think, prompts: Sequence[str], settings: SampleSettings
    ) -> Iterator[Sample]:
        """Continue the prompts, piece by piece. Optional.

        Raises:
            NotImplementedError: this domain makes nothing to look at.
        """
        raise NotImplementedError(f"{type(self).__name__} does not sample")

    def batch_of(self, texts: Sequence[str]) -> TensorDict:
        """A batch, as `batches` yields it, of given texts. Optional.

        So a model says what it thinks of texts that others made. Every unit of a text counts once, by
        its weight. The key `text` is the number of the text that a row belongs to, `[b]`: one that is
        longer than a row has several.

        Raises:
            NotImplementedError: this domain reads no texts.
        """
        raise NotImplementedError(f"{type(self).__name__} does not read texts")

    def exhibits(
        self, think_at: Callable[[int], Think], loops: Sequence[int], trained: int
    ) -> Iterator[Exhibit]:
        """What there is to show of the trained model, beside its losses. Optional.

        Asked when a run is evaluated: the model is in evaluation mode, no gradient is recorded unless it
        is asked for, and random numbers follow a fixed seed. What was yielded before an error is kept.

        Args:
            think_at: the model's `think` with this many loops.
            loops: the depths that are being evaluated, from shallow to deep.
            trained: the depth that the model is used with.
        """
        return iter(())

    def allocation(self, think: Think, batch: TensorDict) -> Iterator[Exhibit]:
        """Where the loops went, as only this domain can show it. Optional.

        Asked when a run is evaluated with a rule to stop early, in the conditions of `exhibits`. How many
        loops a call gave to each unit is in what it returns, `think(...).result.depth`, and those of a
        whole `forward` in its `outcome.depth`.

        Args:
            think: the model's `think` with the rule.
            batch: a prepared batch of held-out data, on the device.
        """
        return iter(())

    def save_assets(self, folder: Path) -> None:
        """Write what the model needs in use besides weights and settings (a vocabulary)."""

    def load_assets(self, folder: Path) -> None:
        """Read what `save_assets` wrote."""

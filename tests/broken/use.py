"""Broken saving, sampling and showing."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from tensordict import TensorDict
from torch import Tensor
from walk import Walk, WalkConfig

from broken.planted import found_by
from loopverse import Outcome, Sample, SampleSettings, Think
from loopverse.exhibit import Exhibit

SAVED = "saved_and_loaded_it_is_the_same"
SHOWS = "what_it_shows_comes_without_an_error"
LOOPS = "where_the_loops_went_is_known"
SAMPLES = "samples_repeat_with_their_seed"


@found_by(SAVED, "the same losses after saving and loading", "register_buffer")
class TensorThatIsNoBuffer(Walk):
    def __init__(self, config: WalkConfig, width: int) -> None:
        super().__init__(config, width)
        self.scale = torch.rand(width)

    def vectors(self, batch: TensorDict) -> Tensor:
        return super().vectors(batch) * self.scale


@found_by(SAVED, "no error", "ForeignError", "adapter.late.weight")
class GrowsWithItsData(Walk):
    def batches(self, split: Any, **options: Any) -> Iterator[TensorDict]:
        self.late = torch.nn.Embedding(9, self.width)
        return super().batches(split, **options)

    def vectors(self, batch: TensorDict) -> Tensor:
        x = super().vectors(batch)
        return x + self.late(batch["seen"][:, :-1]) if "late" in dict(self.named_children()) else x


@found_by(SAVED, "no error", "FileNotFoundError at walk.py")
class SavesNoAssets(Walk):
    def save_assets(self, folder: Path) -> None:
        pass


@found_by("it_moves_to_another_device", "on the device of its parameters", "device=x.device")
class StaysOnTheCPU(Walk):
    def vectors(self, batch: TensorDict) -> Tensor:
        return super().vectors(batch) + torch.linspace(0, 1, self.width)


PRECISION = "it_counts_in_another_precision"


@found_by(PRECISION, "torch.float64", "got torch.float32", "likely .float()")
class CastsWhatItReads(Walk):
    def vectors(self, batch: TensorDict) -> Tensor:
        return super().vectors(batch).float()


@found_by(PRECISION, "torch.float64", "RuntimeError", "dtype=x.dtype")
class MultipliesByATableInSinglePrecision(Walk):
    def vectors(self, batch: TensorDict) -> Tensor:
        return super().vectors(batch) @ torch.eye(self.width, device=batch["seen"].device)


@found_by(PRECISION, "losses that differ by up to", "use logsumexp")
class LosesDigitsInADifference(Walk):
    def losses(self, prediction: Any, batch: TensorDict) -> Tensor:
        return (super().losses(prediction, batch) + 1e6) - 1e6


@found_by("it_compiles", "one graph", "Unsupported", "decide it in prepare")
class LooksWhetherAnythingIsHidden(Walk):
    def vectors(self, batch: TensorDict) -> Tensor:
        x = super().vectors(batch)
        return x + 1 if batch["present"].all() else x


@found_by(SAMPLES, "Sample(row, text)", "got ['", "the number of its prompt")
class SamplesStrings(Walk):
    def sample(
        self, think: Think, prompts: Sequence[str], settings: SampleSettings
    ) -> Iterator[str]:
        yield from (piece.text for piece in super().sample(think, prompts, settings))


@found_by(SAMPLES, "one of 2 prompts", "rows [1, 2]", "from 0")
class CountsFromOne(Walk):
    def sample(
        self, think: Think, prompts: Sequence[str], settings: SampleSettings
    ) -> Iterator[Sample]:
        for piece in super().sample(think, prompts, settings):
            yield Sample(piece.row + 1, piece.text)


@found_by(SAMPLES, "the same samples twice", "seeded by (settings.seed, row)")
class SamplesByGlobalChance(Walk):
    def source(self, seed: int, row: int) -> None:
        return None


@found_by("samples_do_not_depend_on_their_neighbours", "alone and", "a generator of its own")
class ReadsTheFirstPromptsRowCount(Walk):
    def sample(
        self, think: Think, prompts: Sequence[str], settings: SampleSettings
    ) -> Iterator[Sample]:
        together = SampleSettings(settings.length, seed=settings.seed + len(prompts))
        return super().sample(think, prompts, together)


@found_by(SHOWS, "no error", "failed after 1 of them (KeyError", "LOOPVERSE_TRACEBACK=1")
class ShowsWhatIsNotThere(Walk):
    def exhibits(
        self, think_at: Callable[[int], Think], loops: Sequence[int], trained: int
    ) -> Iterator[Exhibit]:
        yield from super().exhibits(think_at, loops, trained)
        next(self.batches("valid", batch_size=2, seed=0))["gone"]


@found_by(SHOWS, "exhibits of the kinds", "got Exhibit")
class ShowsSomethingOfItsOwn(Walk):
    def exhibits(
        self, think_at: Callable[[int], Think], loops: Sequence[int], trained: int
    ) -> Iterator[Exhibit]:
        yield Exhibit("The way", "It is long.")


@found_by(SHOWS, "{run} in every command", "loopverse stroll runs/mine")
class SuggestsItsOwnRun(Walk):
    suggestions: ClassVar[dict[str, str]] = {"loopverse stroll runs/mine": "go for a walk"}


@found_by(
    LOOPS,
    "difficulties for each unit",
    "'hidden places' must have the shape of the losses, [4, 10], got [4]",
)
class OneDifficultyForAWholeWalk(Walk):
    def difficulties(self, outcome: Outcome, batch: TensorDict) -> dict[str, Tensor]:
        found = super().difficulties(outcome, batch)
        return {name: values.mean(1) for name, values in found.items()}


@found_by(LOOPS, "allocation failed after 1 of them (KeyError", "LOOPVERSE_TRACEBACK=1")
class LooksForLoopsThatAreNotThere(Walk):
    def allocation(self, think: Think, batch: TensorDict) -> Iterator[Exhibit]:
        yield from super().allocation(think, batch)
        batch["gone"]


@found_by(LOOPS, "does not say how many loops each unit got", "return `thought.weigh(...)`")
class ForgetsHowDeepItThought(Walk):
    def forward(self, think: Think, batch: TensorDict) -> Outcome:
        outcome = super().forward(think, batch)
        return Outcome(outcome.losses, outcome.weights, outcome.penalty, outcome.prediction)

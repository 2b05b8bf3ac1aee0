"""Puzzles: what is asked, from what is given."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import ClassVar, cast

import torch
import torchmetrics
from jaxtyping import Bool, Float
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from loopverse.domain import DomainAdapter, Outcome, Sample, SampleSettings, Split, Think, Thought
from loopverse.exhibit import Exhibit
from loopverse.nn import Attend, CoreInput
from loopverse_puzzle.config import PuzzleConfig
from loopverse_puzzle.own import OwnPuzzles, read_puzzles
from loopverse_puzzle.puzzles import Batch
from loopverse_puzzle.showing import by_grade, one_puzzle

WRONG, UNSOLVED = "wrong_cells_percent", "unsolved_percent"


class Puzzle(DomainAdapter):
    """Sudoku, mazes, and products of group elements: all cells are answered at once.

    Raises:
        ValueError: settings that cannot be.
    """

    Config = PuzzleConfig
    metric = WRONG
    unit = "cells"
    config: PuzzleConfig
    suggestions: ClassVar[dict[str, str]] = {
        "loopverse diagnose {run}": "see which loops find the answers"
    }

    def __init__(self, config: PuzzleConfig, width: int) -> None:
        super().__init__(config, width)
        self.kind = config.build()
        self.given = nn.Embedding(self.kind.inputs, width)
        groups = self.kind.groups()
        self.places = nn.ModuleList(nn.Embedding(int(group.max()) + 1, width) for group in groups)
        self.answer = nn.Linear(width, self.kind.outputs)
        for table in (self.given, *self.places):
            nn.init.normal_(cast(nn.Embedding, table).weight, std=(1 + len(groups)) ** -0.5)
        self._own: OwnPuzzles | None = None
        self._made: dict[int | None, Batch] = {}

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
        if split == "train":
            for number in count(start):
                rng = torch.Generator().manual_seed(_seed(seed, number, rank))
                yield _tensors(self._training(number, batch_size, rng))
            return
        for puzzles in self._held_out():
            rows = torch.arange(rank, len(puzzles.given), world_size)
            for part in rows.split(batch_size):
                yield _tensors(puzzles.take(part))

    def embed(self, batch: TensorDict) -> CoreInput:
        given = cast(Tensor, batch["given"])
        x = self.given(given)
        for table, group in zip(self.places, self.kind.groups(), strict=True):
            x = x + table(group.to(given.device))
        # Where a cell is, its row and column say; in a line the order says it.
        positions = None if self.kind.shape is None else torch.zeros_like(given)
        return CoreInput(x, Attend(causal=self.kind.causal), positions)

    def predict(self, z: Float[Tensor, "b t d"]) -> Categorical:
        return Categorical(logits=self.answer(z).float(), validate_args=False)

    def loss(self, prediction: Distribution, batch: TensorDict) -> Outcome:
        """Nats for each cell that is asked."""
        asked = cast(Tensor, batch["asked"])
        nats = -prediction.log_prob(cast(Tensor, batch["answer"]))
        return Outcome(nats.masked_fill(~asked, 0), asked.float(), prediction=prediction)

    def forward(self, think: Think, batch: TensorDict) -> Outcome:
        """Think in segments, each from where the last one stopped; in training each of them has a loss."""
        inputs, state = self.embed(batch), None
        if self.config.carried:
            thought = Thought.joined(list(_one_by_one(think, inputs)))
            return thought.weigh([self.loss(self.predict(z), batch) for z in thought.readouts])
        outcomes: list[Outcome] = []
        for _ in range(self.config.segments):
            thought = think(inputs, carry=state)
            outcomes.append(
                thought.weigh([self.loss(self.predict(z), batch) for z in thought.readouts])
            )
            state = thought.result.z.detach()
        last = outcomes[-1]
        if self.training:
            last.losses = torch.stack([one.losses for one in outcomes]).mean(0)
        depths = [one.depth for one in outcomes if one.depth is not None]
        last.depth = torch.stack(depths).sum(0) if depths else None
        return last

    def correct(self, outcome: Outcome, batch: TensorDict) -> Bool[Tensor, "b t"]:
        """Where the most likely answer is right."""
        assert isinstance(outcome.prediction, Categorical)
        return outcome.prediction.logits.argmax(-1) == cast(Tensor, batch["answer"])

    def metrics(self) -> dict[str, torchmetrics.Metric]:
        names = [WRONG, UNSOLVED]
        if self._longer:
            names += [f"{name}_at_{self.config.longer}" for name in names]
        return {name: torchmetrics.MeanMetric() for name in names}

    def measure(
        self, metrics: dict[str, torchmetrics.Metric], outcome: Outcome, batch: TensorDict
    ) -> None:
        wrong = 100 * (~self.correct(outcome, batch) & cast(Tensor, batch["asked"])).float()
        if self._longer:
            counts = outcome.weights * (wrong.shape[1] == self.config.longer)
            metrics[f"{WRONG}_at_{self.config.longer}"].update(wrong, counts)
            metrics[f"{UNSOLVED}_at_{self.config.longer}"].update(wrong.amax(1), counts[:, 0])
        usual = wrong.shape[1] if self.kind.shape is not None else self.config.length
        wrong, weights = (
            wrong[:, :usual],
            outcome.weights[:, :usual],
        )  # the beginning of longer ones
        metrics[WRONG].update(wrong, weights)
        metrics[UNSOLVED].update(wrong.amax(1))

    def difficulties(self, outcome: Outcome, batch: TensorDict) -> dict[str, Float[Tensor, "b t"]]:
        return {self.kind.grade_name: cast(Tensor, batch["grade"])}

    def exhibits(
        self, think_at: Callable[[int], Think], loops: Sequence[int], trained: int
    ) -> Iterator[Exhibit]:
        yield from by_grade(self, think_at, loops)
        yield from one_puzzle(self, think_at, loops)

    def sample(
        self, think: Think, prompts: Sequence[str], settings: SampleSettings
    ) -> Iterator[Sample]:
        """Solve the prompts, puzzles as `domain.file` has them; an empty one is made up.

        Raises:
            ValueError: a prompt that is no puzzle of this kind.
        """
        device = self.answer.weight.device
        for row, prompt in enumerate(prompts):
            rng = torch.Generator().manual_seed(_seed(settings.seed, row, 0))
            given = self.kind.read(prompt) if prompt else self.kind.draw(1, rng).given[0]
            blank = torch.zeros_like(given)
            asked = torch.ones_like(given, dtype=torch.bool)
            puzzle = Batch(given[None], blank[None], asked[None], blank[None].float())
            outcome = self(think, _tensors(puzzle).to(device))
            assert isinstance(outcome.prediction, Categorical)
            answer = outcome.prediction.logits.argmax(-1)[0].cpu()
            yield Sample(row, self.kind.write(given, answer), whole=True)

    @property
    def _longer(self) -> bool:
        """Whether longer sequences are held out too."""
        return self.kind.shape is None and self.config.longer > 0 and not self.config.file

    def _puzzles(self) -> OwnPuzzles | None:
        """Those of the file, if there is one."""
        if self.config.file and self._own is None:
            self._own = read_puzzles(Path(self.config.file), self.kind)
        return self._own

    def _training(self, number: int, size: int, rng: torch.Generator) -> Batch:
        own, growth = self._puzzles(), self.config.growth
        if own is None:
            grown = self.config.length if not growth else 2 ** min(1 + number // growth, 30)
            kind = self.kind if grown >= self.config.length else self.config.build(grown)
            return kind.split(False, size, rng)
        return own.train.take(torch.randint(len(own.train.given), (size,), generator=rng))

    def _held_out(self) -> Iterator[Batch]:
        own = self._puzzles()
        if own is not None:
            yield own.valid
            return
        lengths: list[int | None] = [None]
        if self._longer and self.config.longer != self.config.length:
            lengths.append(self.config.longer)
        for length in lengths:
            if length not in self._made:  # drawn once, as 15 of 16 are thrown away
                kind, rng = self.config.build(length), torch.Generator().manual_seed(0)
                self._made[length] = kind.split(True, self.config.held_out, rng)
            yield self._made[length]


def _one_by_one(think: Think, inputs: CoreInput) -> Iterator[Thought]:
    """Think about one element after another, each from the state where the one before stopped."""
    state: Tensor | None = None
    for x in inputs.x.split(1, dim=1):
        thought = think(CoreInput(x, inputs.attend), carry=state)
        state = thought.result.z
        yield thought


def _seed(*address: int) -> int:
    """A number for an address; a generator on the CPU looks at the lowest 32 bits of its seed alone."""
    return zlib.crc32(repr(address).encode())


def _tensors(puzzles: Batch) -> TensorDict:
    return TensorDict(dict(vars(puzzles)), batch_size=[len(puzzles.given)])

"""A small domain that keeps the whole contract, in pieces that a broken one can replace."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributions import Categorical

from loopverse import Attend, CoreInput, DomainAdapter, Outcome, Sample, SampleSettings, Think
from loopverse.exhibit import Exhibit, TableExhibit

PLACES = 8
BLANK = PLACES


@dataclass
class WalkConfig:
    """Settings of the walks.

    Attributes:
        length: steps of the longest walk.
        blanks: share of the places that `prepare` hides from the reader.
    """

    length: int = 10
    blanks: float = 0.2


class Walk(DomainAdapter):
    """Where on a circle of eight places somebody stands next, who goes one or two places on."""

    Config = WalkConfig
    metric = "nats_per_step"
    config: WalkConfig

    def __init__(self, config: WalkConfig, width: int) -> None:
        super().__init__(config, width)
        self.read = nn.Embedding(PLACES + 1, width)
        self.write = nn.Linear(width, PLACES)
        self.letters = "abcdefgh"

    def batches(
        self,
        split: Any,
        *,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[TensorDict]:
        for number in self.numbers(split, start):
            yield self.walks(batch_size, self.generator(split, seed, number, rank))

    def numbers(self, split: str, start: int) -> Iterable[int]:
        return itertools.count(start) if split == "train" else range(start, 3)

    def generator(self, split: str, seed: int, number: int, rank: int) -> torch.Generator | None:
        address = hashlib.sha256(repr((split, seed, number, rank)).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(address[:6], "big"))

    def walks(self, count: int, rng: torch.Generator | None) -> TensorDict:
        length = self.config.length
        steps = torch.randint(1, 3, (count, length + 1), generator=rng)
        lengths = torch.randint(length // 2, length + 1, (count, 1), generator=rng)
        places = steps.cumsum(1) % PLACES
        present = torch.arange(length) < lengths
        return TensorDict({"places": places, "present": present}, batch_size=[count])

    def prepare(self, batch: TensorDict, rng: torch.Generator) -> TensorDict:
        hidden = torch.rand(batch["places"].shape, generator=rng) < self.config.blanks
        return batch.clone(recurse=False).set("seen", batch["places"].masked_fill(hidden, BLANK))

    def embed(self, batch: TensorDict) -> CoreInput:
        return CoreInput(self.vectors(batch), self.attend(batch))

    def vectors(self, batch: TensorDict) -> Tensor:
        return self.read(batch["seen"][:, :-1])

    def attend(self, batch: TensorDict) -> Attend:
        return Attend(causal=True, padding=batch["present"])

    def predict(self, z: Tensor) -> Any:
        return Categorical(logits=self.write(z))

    def losses(self, prediction: Any, batch: TensorDict) -> Tensor:
        return -prediction.log_prob(batch["places"][:, 1:])

    def loss(self, prediction: Any, batch: TensorDict) -> Outcome:
        losses = self.losses(prediction, batch)
        return Outcome(losses, self.weights(batch), prediction=prediction)

    def weights(self, batch: TensorDict) -> Tensor:
        return batch["present"].float()

    def sample(
        self, think: Think, prompts: Sequence[str], settings: SampleSettings
    ) -> Iterator[Any]:
        for row, prompt in enumerate(prompts):
            rng = self.source(settings.seed, row)
            places = [self.letters.index(letter) for letter in prompt or "a"]
            for _ in range(settings.length):
                x = self.read(torch.tensor([places[-self.config.length :]]))
                logits = self.predict(think(CoreInput(x, Attend())).z).logits[0, -1]
                places.append(int(torch.multinomial(logits.softmax(-1), 1, generator=rng)))
                yield Sample(row, self.letters[places[-1]])

    def source(self, seed: int, row: int) -> torch.Generator | None:
        return torch.Generator().manual_seed(1000 * seed + row)

    def exhibits(
        self, think_at: Callable[[int], Think], loops: Sequence[int], trained: int
    ) -> Iterator[Exhibit]:
        batch = next(self.batches("valid", batch_size=2, seed=0))
        batch = self.prepare(batch, torch.Generator().manual_seed(0)).to(self.write.weight.device)
        losses = [float(self(think_at(number), batch).loss) for number in loops]
        yield TableExhibit(
            "Two walks", "In nats.", ["loops", *map(str, loops)], [["cost", *losses]]
        )

    def difficulties(self, outcome: Outcome, batch: TensorDict) -> dict[str, Tensor]:
        hidden = (batch["seen"][:, :-1] == BLANK).float()
        return {"hidden places": hidden}

    def allocation(self, think: Think, batch: TensorDict) -> Iterator[Exhibit]:
        depth = think(self.embed(batch)).result.depth.float().mean(1)
        yield TableExhibit("Loops of a walk", "", ["walk", "loops"], [["first", float(depth[0])]])

    def save_assets(self, folder: Path) -> None:
        (folder / "letters.txt").write_text(self.letters, encoding="utf-8")

    def load_assets(self, folder: Path) -> None:
        self.letters = (folder / "letters.txt").read_text(encoding="utf-8")

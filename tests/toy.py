"""A domain small enough to train in a second: repeat a bit that was read some positions ago."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributions import Categorical

from loopverse import depth, registry
from loopverse import nn as lnn
from loopverse.domain import DomainAdapter, Outcome, Split
from loopverse.training.config import TrainConfig
from loopverse.training.optim import AdamW
from loopverse.training.rate import Cosine
from loopverse.training.seeding import stream
from loopverse.training.settings import TrainingSettings


@dataclass
class ToyConfig:
    """Settings of the toy.

    Attributes:
        length: bits per sequence.
        lag: how far back the bit to repeat lies.
        flip: probability that `prepare` flips a bit.
        dropout: of the embedding, drawn from the global generator as strangers do.
        tied: the head shares the embedding's weights.
        poison: number of the batch whose embedding is not finite; -1: none.
    """

    length: int = 12
    lag: int = 2
    flip: float = 0.0
    dropout: float = 0.0
    tied: bool = False
    poison: int = -1


class Toy(DomainAdapter):
    """Bits in, bits out."""

    Config = ToyConfig
    metric = "nats_per_bit"
    unit = "bits"

    def __init__(self, config: ToyConfig, width: int) -> None:
        super().__init__(config, width)
        self.bits = nn.Embedding(2, width)
        self.head = nn.Linear(width, 2, bias=False)
        if config.tied:
            self.head.weight = self.bits.weight

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
        """Row r of batch n is row n * batch_size + r of one stream, whatever the batch size."""
        number = start
        while split == "train" or number < 4:
            first = (number * world_size + rank) * batch_size
            rows = [self._row(seed, split, first + row) for row in range(batch_size)]
            weight = torch.stack([weight for _, weight in rows])
            yield TensorDict(
                {
                    "bits": torch.stack([bits for bits, _ in rows]),
                    "weight": weight,
                    "id": torch.arange(first, first + batch_size),
                    "scale": torch.full((batch_size,), self._scale(split, number)),
                },
                batch_size=[batch_size],
            )
            number += 1

    def prepare(self, batch: TensorDict, rng: torch.Generator) -> TensorDict:
        flips = torch.rand(batch["bits"].shape, generator=rng) < self.config.flip
        return batch.clone(recurse=False).set("bits", batch["bits"] ^ flips.long())

    def embed(self, batch: TensorDict) -> lnn.CoreInput:
        x = self.bits(batch["bits"]) * batch["scale"][:, None, None]
        x = nn.functional.dropout(x, self.config.dropout, self.training)
        return lnn.CoreInput(x, lnn.Attend(causal=True))

    def predict(self, z: Tensor) -> Categorical:
        return Categorical(logits=self.head(z).float(), validate_args=False)

    def loss(self, prediction: Any, batch: TensorDict) -> Outcome:
        target = batch["bits"].roll(self.config.lag, dims=1)
        return Outcome(-prediction.log_prob(target), batch["weight"], prediction=prediction)

    def _row(self, seed: int, split: str, number: int) -> tuple[Tensor, Tensor]:
        rng = stream(seed, number, split)
        bits = torch.randint(0, 2, (self.config.length,), generator=rng)
        end = torch.randint(self.config.lag + 1, self.config.length + 1, (1,), generator=rng)
        place = torch.arange(self.config.length)
        return bits, ((place >= self.config.lag) & (place < end)).float()

    def _scale(self, split: str, number: int) -> float:
        return float("nan") if split == "train" and number == self.config.poison else 1.0


def register() -> None:
    """Make the toy known as an installed package would be."""
    entry = EntryPoint("toy", "toy:Toy", registry.GROUP)
    installed = registry.domain_entry_points
    registry.domain_entry_points = lambda: installed() | {"toy": entry}


def toy_config(runs: Any, **training: Any) -> TrainConfig:
    """A configuration that trains in a second.

    Args:
        runs: the folder of run folders.
        training: settings of `TrainingSettings`.
    """
    settings: dict[str, Any] = {
        "steps": 6,
        "batch_size": 4,
        "evaluate_every": 3,
        "checkpoint_every": 2,
        "trackers": [],
        "precision": "fp32",
        **training,
    }
    return TrainConfig(
        domain=ToyConfig(),
        core=lnn.CoreConfig(
            width=16,
            num_heads=2,
            num_prelude=1,
            num_loop=1,
            num_coda=0,
            loops=2,
            injection=lnn.Add(),
            init=lnn.Zeros(),
        ),
        schedule=depth.Constant(loops=2),
        gradient=depth.Full(),
        halting=depth.FixedDepth(),
        objective=depth.Final(),
        optimizer=AdamW(lr=1e-2),
        rate=Cosine(),
        training=TrainingSettings(**settings),
        name="run",
        runs=str(runs),
        choices={"domain": "toy"},
    )

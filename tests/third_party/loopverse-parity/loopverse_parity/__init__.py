"""Running parity: after each bit, is the number of ones so far odd?"""

import itertools
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torchmetrics
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributions import Bernoulli

from loopverse import Attend, CoreInput, DomainAdapter, Outcome, Sample, SampleSettings, Think
from loopverse.exhibit import Exhibit, HeatMap

__all__ = ["Parity", "ParityConfig"]

HELD_OUT = (1, 0, 1)


@dataclass
class ParityConfig:
    """Settings of the parity domain.

    Attributes:
        length: bits of the longest row; the shortest has half as many.
        ones: probability of a one.
        noise: probability that a bit is hidden from the reader while training.
        valid_rows: held-out rows.
    """

    length: int = 16
    ones: float = 0.5
    noise: float = 0.0
    valid_rows: int = 512

    def __post_init__(self) -> None:
        if self.length < 2 * len(HELD_OUT):
            raise ValueError(
                f"domain.length must be at least {2 * len(HELD_OUT)}, got {self.length}"
            )
        if not 0 < self.ones < 1:
            raise ValueError(f"domain.ones must be between 0 and 1, got {self.ones}")


class Parity(DomainAdapter):
    """Bits in, the parity of all bits so far out. Rows that begin with 101 are held out."""

    Config = ParityConfig
    metric = "bits_per_answer"
    suggestions: ClassVar[dict[str, str]] = {
        "loopverse places {run} --loops 1,2,4,8": "see where answers go wrong"
    }
    config: ParityConfig

    def __init__(self, config: ParityConfig, width: int) -> None:
        super().__init__(config, width)
        self.read = nn.Embedding(3, width)  # zero, one, hidden
        self.write = nn.Linear(width, 1)

    def batches(
        self,
        split: str,
        *,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[TensorDict]:
        for number in itertools.count(start):
            size = batch_size
            if split == "valid":
                before = (number * world_size + rank) * batch_size
                size = min(batch_size, self.config.valid_rows - before)
            if size <= 0:
                return
            address = repr((split, seed, number, rank)).encode()
            yield self._rows(split, size, torch.Generator().manual_seed(zlib.crc32(address)))

    def prepare(self, batch: TensorDict, rng: torch.Generator) -> TensorDict:
        hidden = torch.rand(batch["bits"].shape, generator=rng) < self.config.noise
        return batch.clone(recurse=False).set("seen", batch["bits"].masked_fill(hidden, 2))

    def embed(self, batch: TensorDict) -> CoreInput:
        return CoreInput(self.read(batch["seen"]), Attend(causal=True, padding=batch["present"]))

    def predict(self, z: Tensor) -> Bernoulli:
        return Bernoulli(logits=self.write(z).squeeze(-1).float())

    def loss(self, prediction: Bernoulli, batch: TensorDict) -> Outcome:
        losses = -prediction.log_prob(batch["odd"])
        return Outcome(losses, batch["present"].float(), prediction=prediction)

    def metrics(self) -> dict[str, torchmetrics.Metric]:
        return {
            self.metric: torchmetrics.MeanMetric(),
            "wrong_answers": torchmetrics.MeanMetric(),
        }

    def measure(
        self, metrics: dict[str, torchmetrics.Metric], outcome: Outcome, batch: TensorDict
    ) -> None:
        assert isinstance(outcome.prediction, Bernoulli)
        wrong = (outcome.prediction.logits > 0) != batch["odd"].bool()
        metrics[self.metric].update(outcome.losses / math.log(2), outcome.weights)
        metrics["wrong_answers"].update(wrong.float(), outcome.weights)

    def sample(
        self, think: Think, prompts: Sequence[str], settings: SampleSettings
    ) -> Iterator[Sample]:
        """The answer after each bit of a prompt; an empty one is answered for bits of its own.

        Raises:
            ValueError: a prompt is not made of ones and zeros.
        """
        for row, prompt in enumerate(prompts):
            if set(prompt) - {"0", "1"}:
                raise ValueError(f"a prompt must be ones and zeros, such as 1011, got {prompt!r}")
            rng = torch.Generator().manual_seed(1_000_003 * settings.seed + row)
            bits = torch.tensor([[int(bit) for bit in prompt]], dtype=torch.long)
            if not prompt:
                bits = torch.randint(0, 2, (1, settings.length), generator=rng)
                yield Sample(row, "".join(map(str, bits[0].tolist())))
            yield Sample(row, " -> ")
            z = think(CoreInput(self.read(bits.to(self.read.weight.device)), Attend(True))).z
            for odd in (self.predict(z).logits[0] > 0).tolist():
                yield Sample(row, "1" if odd else "0")

    def exhibits(
        self, think_at: Callable[[int], Think], loops: Sequence[int], trained: int
    ) -> Iterator[Exhibit]:
        """How often the answer at each place is wrong, at each depth."""
        batch = self._rows("valid", 256, torch.Generator().manual_seed(0))
        batch = self.prepare(batch, torch.Generator().manual_seed(0)).to(self.read.weight.device)
        present = batch["present"]
        values = []
        for number in loops:
            odd = self.predict(think_at(number)(self.embed(batch)).z).logits > 0
            wrong = ((odd != batch["odd"].bool()) & present).sum(0) / present.sum(0)
            values.append(wrong.tolist())
        yield HeatMap(
            title="Wrong answers by place",
            note="The share of answers that are wrong; every bit flips all that come after it.",
            x_label="place",
            x=list(range(1, self.config.length + 1)),
            y_label="loops",
            y=list(loops),
            values=values,
        )

    def _rows(self, split: str, count: int, rng: torch.Generator) -> TensorDict:
        length = self.config.length
        bits = (torch.rand(count, length, generator=rng) < self.config.ones).long()
        head, held_out = bits[:, : len(HELD_OUT)], torch.tensor(HELD_OUT)
        if split == "valid":
            head[:] = held_out
        else:
            head[(head == held_out).all(1), 0] = 0
        lengths = torch.randint(length // 2, length + 1, (count, 1), generator=rng)
        present = torch.arange(length) < lengths
        odd = (bits.cumsum(1) % 2).float()
        return TensorDict({"bits": bits, "odd": odd, "present": present}, batch_size=[count])

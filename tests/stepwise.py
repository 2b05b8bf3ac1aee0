"""A toy that writes its bits in steps, in any order but from the left, and can be read as well."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, cast

import torch
from tensordict import TensorDict
from toy import Toy

from loopverse import Outcome, Sample, SampleSettings, Think, registry

HIDDEN = "\N{LIGHT SHADE}"


@dataclass
class StepwiseSampling(SampleSettings):
    """What can be asked.

    Attributes:
        length: bits to write.
        steps: calls of the model, at most one a bit; null: four.
        order: `forward` or `backward`.
        pause: bits that no step writes; null: none.
    """

    length: int = 8
    steps: int | None = 4
    order: str = "forward"
    pause: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is not None and not 1 <= self.steps <= self.length:
            raise ValueError(
                f"steps must be 1 to the length {self.length}, got {self.steps}: ask for fewer"
            )


class Stepwise(Toy):
    """Bits that are hidden at first; every step of sampling writes some of them."""

    Sampling = StepwiseSampling

    def sample(
        self, think: Think, prompts: Sequence[str], settings: SampleSettings
    ) -> Iterator[Sample]:
        assert isinstance(settings, StepwiseSampling)
        length, steps, count = settings.length, settings.steps or 4, len(prompts)
        draws = torch.stack([self._draws(settings, row) for row in range(count)])
        bits, hidden = torch.zeros_like(draws).long(), torch.ones_like(draws).bool()
        for step in range(steps):
            batch = TensorDict({"bits": bits, "scale": torch.ones(count)}, batch_size=[count])
            think_so_far = think(self.embed(batch), outer=step / steps)
            drawn = (draws < self.predict(think_so_far.z).probs[..., 1]).long()
            now = torch.arange(length) * steps // length == step
            now = now.flip(0) if settings.order == "backward" else now
            bits, hidden = torch.where(now, drawn, bits), hidden & ~now
            last = step == steps - 1
            for row, prompt in enumerate(prompts):
                shown = zip(bits[row].tolist(), hidden[row].tolist(), strict=True)
                text = prompt + "".join(HIDDEN if away else str(bit) for bit, away in shown)
                yield Sample(row, text, whole=True, draft=not last)

    def _draws(self, settings: SampleSettings, row: int) -> torch.Tensor:
        rng = torch.Generator().manual_seed(1000 * settings.seed + row)
        return torch.rand(settings.length, generator=rng)


class Reading(Toy):
    """A toy that reads given texts."""

    def batch_of(self, texts: Sequence[str]) -> TensorDict:
        longest = max(len(text) for text in texts)
        places = torch.arange(longest)
        return TensorDict(
            {
                "bits": torch.tensor(
                    [[int(c) for c in text.ljust(longest, "0")] for text in texts]
                ),
                "weight": torch.stack([(places < len(text)).float() for text in texts]),
                "scale": torch.ones(len(texts)),
                "text": torch.arange(len(texts)),
            },
            batch_size=[len(texts)],
        )

    def loss(self, prediction: Any, batch: TensorDict) -> Outcome:
        """In use half a nat for a 0 and two nats for a 1, so that the sums are known."""
        if self.training:
            return super().loss(prediction, batch)
        bits = cast(torch.Tensor, batch["bits"])
        return Outcome(0.5 + 1.5 * bits, cast(torch.Tensor, batch["weight"]))


def register() -> None:
    """Make both known as installed packages would be."""
    points = {
        name: EntryPoint(name, f"stepwise:{name.title()}", registry.GROUP)
        for name in ("stepwise", "reading")
    }
    installed = registry.domain_entry_points
    registry.domain_entry_points = lambda: installed() | points

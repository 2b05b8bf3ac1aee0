"""The next token of a text, from the tokens before it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torchmetrics
from jaxtyping import Bool
from tensordict import TensorDict
from torch import Tensor
from torch.distributions import Distribution
from torchmetrics.text import Perplexity

from loopverse.domain import Outcome, Sample, SampleSettings, Think
from loopverse.nn import Attend, CoreInput
from loopverse.text import TextConfig, TextDomain, TokenDistribution
from loopverse_autoregressive.continuous import PlacesReader, generate_in_places
from loopverse_autoregressive.generation import CachedReader, generate
from loopverse_autoregressive.settings import AutoregressiveSampling

NOT_COUNTED = -100


@dataclass
class AutoregressiveConfig(TextConfig):
    """Settings of the autoregressive domain."""


class Autoregressive(TextDomain):
    """Text as a stream of documents; every token is predicted from those before it.

    Raises:
        ValueError: an unknown tokeniser, or sizes that cannot be.
    """

    Config = AutoregressiveConfig
    Sampling = AutoregressiveSampling
    config: AutoregressiveConfig

    def embed(self, batch: TensorDict) -> CoreInput:
        segments = cast(Tensor, batch["segments"]) if self.config.separate_documents else None
        tokens = cast(Tensor, batch["tokens"])
        return CoreInput(self.embed_tokens(tokens), Attend(causal=True, segments=segments))

    def loss(self, prediction: Distribution, batch: TensorDict) -> Outcome:
        nats = -prediction.log_prob(cast(Tensor, batch["targets"]))
        return Outcome(nats, cast(Tensor, batch["weights"]), prediction=prediction)

    def correct(self, outcome: Outcome, batch: TensorDict) -> Bool[Tensor, "b t"]:
        """Where the most likely token is the next one."""
        assert isinstance(outcome.prediction, TokenDistribution)
        return outcome.prediction.mode == cast(Tensor, batch["targets"])

    def metrics(self) -> dict[str, torchmetrics.Metric]:
        return {**super().metrics(), "perplexity": Perplexity(ignore_index=NOT_COUNTED)}

    def measure(
        self, metrics: dict[str, torchmetrics.Metric], outcome: Outcome, batch: TensorDict
    ) -> None:
        prediction = outcome.prediction
        assert isinstance(prediction, TokenDistribution)
        targets = cast(Tensor, batch["targets"])
        counts = cast(Tensor, batch["weights"]) > 0
        nats = -prediction.log_prob(targets)
        metrics[self.metric].update(nats * counts, self.sizes(targets) * counts)
        perplexity_targets = targets.masked_fill(~counts, NOT_COUNTED)
        metrics["perplexity"].update(prediction.raw.detach().float(), perplexity_targets)

    def sample(
        self, think: Think, prompts: Sequence[str], settings: SampleSettings
    ) -> Iterator[Sample]:
        """Continue the prompts; an empty one begins a document.

        Raises:
            ValueError: a prompt is longer than the context.
        """
        tokenizer, device = self.tokenizer, self.embedding.weight.device
        opening = torch.tensor([tokenizer.separator])
        ids = [(tokenizer.encode(prompt) if prompt else opening).to(device) for prompt in prompts]
        streams = [tokenizer.stream() for _ in prompts]
        for row, token in self._continued(think, ids, AutoregressiveSampling.of(settings)):
            if text := streams[row].push(token):
                yield Sample(row, text)
        for row, stream in enumerate(streams):
            if text := stream.finish():
                yield Sample(row, text)

    def _continued(
        self, think: Think, prompts: list[Tensor], settings: AutoregressiveSampling
    ) -> Iterator[tuple[int, int]]:
        """Pairs of a prompt's number and its next token."""
        tokenizer, context = self.tokenizer, self.config.context
        count = settings.places_for(len(prompts))
        if count == 0:
            reader = CachedReader(self.embed_tokens, think, self.predict)
            return generate(reader, prompts, tokenizer, settings, context)
        room = min(context, max(map(len, prompts)) + settings.length)
        reader = PlacesReader(self.embed_tokens, think, self.predict, count, room)
        return generate_in_places(reader, prompts, tokenizer, settings, context)

    def batch_of(self, texts: Sequence[str]) -> TensorDict:
        """Each text as a document of its own, from its first token on; that it ends is not asked.

        A text longer than the context is cut into windows, as held-out text is: every token is a
        target once, predicted from those before it in its window.

        Raises:
            ValueError: a text has no UTF-8 form.
        """
        tokenizer, context = self.tokenizer, self.config.context
        opening = torch.tensor([tokenizer.separator])
        windows, numbers = [], []
        for number, text in enumerate(texts):
            stream = torch.cat([opening, tokenizer.encode(text)])
            for start in range(0, max(1, len(stream) - 1), context):
                windows.append(stream[start : start + context + 1])
                numbers.append(number)
        size = (len(windows), max([2, *map(len, windows)]))
        tokens, weights = torch.full(size, tokenizer.padding), torch.zeros(size)
        for row, window in enumerate(windows):
            tokens[row, : len(window)] = window
            weights[row, 1 : len(window)] = 1
        content = {
            "tokens": tokens[:, :-1],
            "targets": tokens[:, 1:],
            "weights": weights[:, 1:],
            "segments": torch.zeros_like(tokens[:, 1:]),
            "text": torch.tensor(numbers, dtype=torch.long),
        }
        return TensorDict(content, batch_size=[len(windows)])

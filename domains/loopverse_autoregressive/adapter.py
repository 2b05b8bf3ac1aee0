"""The next token of a text, from the tokens before it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torchmetrics
from jaxtyping import Float, Int
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F
from torchmetrics.text import Perplexity

from loopverse.domain import DomainAdapter, Outcome, Sample, SampleSettings, Split, Think
from loopverse.nn import Attend, CoreInput
from loopverse.text import (
    ByteTokenizer,
    Corpus,
    Tokenizer,
    TokenWindows,
    learn_bpe,
    load_tokenizer,
    open_corpus,
    tokenise,
)
from loopverse_autoregressive.generation import CachedReader, generate
from loopverse_autoregressive.metrics import BitsPerByte
from loopverse_autoregressive.prediction import TokenDistribution

NOT_COUNTED = -100
TOKENIZERS = ("bytes", "bpe")


@dataclass
class AutoregressiveConfig:
    """Settings of the autoregressive domain.

    Attributes:
        corpus: `stdlib` (the source of Python's standard library), a file, folder or glob, or
            `hf:NAME`, `hf:NAME:CONFIG`, `hf:FOLDER` through the `datasets` library.
        errors: what to do with bytes that are not UTF-8: `strict` refuses the file, `replace` puts
            U+FFFD, `ignore` drops them.
        text_column: which column of a data set, or key of a `.jsonl` line, is the text.
        limit: bytes of the corpus to use, from its beginning; null uses all.
        tokenizer: `bytes`, or `bpe`: byte-pair encoding learned from the training part.
        vocab_size: token ids with `bpe`, separator and padding included; `bytes` has 258.
        context: tokens in a window, and the most that a prompt and its continuation may have.
        separate_documents: tokens of different documents in one window never see each other.
        tie_embeddings: predict with the matrix that embeds.
        scale_embedding: multiply embeddings by the square root of the width (Huginn, 2502.05171).
    """

    corpus: str = "stdlib"
    errors: str = "strict"
    text_column: str = "text"
    limit: int | None = None
    tokenizer: str = "bytes"
    vocab_size: int = 4096
    context: int = 256
    separate_documents: bool = False
    tie_embeddings: bool = False
    scale_embedding: bool = True


class Autoregressive(DomainAdapter):
    """Text as a stream of documents; every token is predicted from those before it.

    Raises:
        ValueError: an unknown tokeniser, or sizes that cannot be.
    """

    Config = AutoregressiveConfig
    metric = "bits_per_byte"
    config: AutoregressiveConfig

    def __init__(self, config: AutoregressiveConfig, width: int) -> None:
        super().__init__(config, width)
        if config.tokenizer not in TOKENIZERS:
            raise ValueError(
                f"domain.tokenizer must be {' or '.join(TOKENIZERS)}, got {config.tokenizer}"
            )
        if config.context < 1:
            raise ValueError(f"domain.context must be at least 1 token, got {config.context}")
        bytewise = ByteTokenizer()
        if config.tokenizer == "bpe" and config.vocab_size < bytewise.vocab_size:
            raise ValueError(
                f"domain.vocab_size must be at least {bytewise.vocab_size} (every byte, separator "
                f"and padding), got {config.vocab_size}"
            )
        self._tokenizer: Tokenizer | None = bytewise if config.tokenizer == "bytes" else None
        self._windows: dict[str, TokenWindows] | None = None
        self.vocab_size = config.vocab_size if config.tokenizer == "bpe" else bytewise.vocab_size
        self.embedding = nn.Embedding(self.vocab_size, width)
        self.head = None if config.tie_embeddings else nn.Linear(width, self.vocab_size, bias=False)
        for module in (self.embedding, self.head):
            if module is not None:
                nn.init.normal_(module.weight, std=(2 / (5 * width)) ** 0.5)

    @property
    def tokenizer(self) -> Tokenizer:
        """What turns text into tokens; with `bpe` and no run to load it from, learned now.

        Raises:
            ValueError: the corpus cannot be read or does not give so many tokens.
        """
        if self._tokenizer is None:
            self._tokenizer = learn_bpe(self._corpus(), self.vocab_size)
        return self._tokenizer

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
        windows = self._open()[split]
        if split == "train":
            return windows.random(
                batch_size, seed=seed, start=start, rank=rank, world_size=world_size
            )
        return windows.once(batch_size, start=start, rank=rank, world_size=world_size)

    def embed(self, batch: TensorDict) -> CoreInput:
        segments = cast(Tensor, batch["segments"]) if self.config.separate_documents else None
        tokens = cast(Tensor, batch["tokens"])
        return CoreInput(self.embed_tokens(tokens), Attend(causal=True, segments=segments))

    def embed_tokens(self, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """What the core reads for some token ids."""
        x = self.embedding(tokens)
        return x * self.width**0.5 if self.config.scale_embedding else x

    def predict(self, z: Float[Tensor, "b t d"]) -> TokenDistribution:
        weight = self.embedding.weight if self.head is None else self.head.weight
        return TokenDistribution(F.linear(z, weight))

    def loss(self, prediction: Distribution, batch: TensorDict) -> Outcome:
        nats = -prediction.log_prob(cast(Tensor, batch["targets"]))
        return Outcome(nats, cast(Tensor, batch["weights"]), prediction=prediction)

    def metrics(self) -> dict[str, torchmetrics.Metric]:
        return {self.metric: BitsPerByte(), "perplexity": Perplexity(ignore_index=NOT_COUNTED)}

    def measure(
        self, metrics: dict[str, torchmetrics.Metric], outcome: Outcome, batch: TensorDict
    ) -> None:
        prediction = outcome.prediction
        assert isinstance(prediction, TokenDistribution)
        targets = cast(Tensor, batch["targets"])
        counts = cast(Tensor, batch["weights"]) > 0
        nats = -prediction.log_prob(targets)
        sizes = self.tokenizer.token_bytes().to(targets.device)[targets]
        metrics[self.metric].update(nats * counts, sizes * counts)
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
        ids = [tokenizer.encode(prompt) if prompt else opening for prompt in prompts]
        reader = CachedReader(self.embed_tokens, think, self.predict)
        streams = [tokenizer.stream() for _ in prompts]
        for row, token in generate(
            reader, [prompt.to(device) for prompt in ids], tokenizer, settings, self.config.context
        ):
            if text := streams[row].push(token):
                yield Sample(row, text)
        for row, stream in enumerate(streams):
            if text := stream.finish():
                yield Sample(row, text)

    def save_assets(self, folder: Path) -> None:
        self.tokenizer.save(folder)

    def load_assets(self, folder: Path) -> None:
        """Take the tokeniser of a run.

        Raises:
            ValueError: it is missing or damaged, or has another number of tokens than this model.
        """
        loaded = load_tokenizer(folder)
        if loaded.vocab_size != self.vocab_size:
            raise ValueError(
                f"{folder} has a tokeniser of {loaded.vocab_size} tokens, this model has "
                f"{self.vocab_size}: copy the folder from the run that the model is of"
            )
        self._tokenizer = loaded
        self._windows = None

    def _corpus(self) -> Corpus:
        config = self.config
        return open_corpus(
            config.corpus, config.errors, text_column=config.text_column, limit=config.limit
        )

    def _open(self) -> dict[str, TokenWindows]:
        """Windows over both parts of the corpus, opened when they are first asked for."""
        if self._windows is None:
            corpus = self._corpus()
            if self._tokenizer is None:
                self._tokenizer = learn_bpe(corpus, self.vocab_size)
            data = tokenise(corpus, self._tokenizer)
            self._windows = {
                split: TokenWindows(
                    data.part(split)["tokens"],
                    data.part(split)["offsets"],
                    self.config.context,
                    padding=self._tokenizer.padding,
                    source=f"corpus {corpus.source}",
                )
                for split in ("train", "valid")
            }
        return self._windows

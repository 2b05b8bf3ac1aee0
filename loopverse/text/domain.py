"""What every domain of text shares: its data, its tokeniser, tokens in and distributions out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torchmetrics
from jaxtyping import Bool, Float, Int
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional as F

from loopverse.domain import DomainAdapter, Split, Think
from loopverse.exhibit import Exhibit
from loopverse.text.cache import learn_bpe, tokenise
from loopverse.text.corpus import Corpus
from loopverse.text.metrics import BitsPerByte
from loopverse.text.prediction import TokenDistribution
from loopverse.text.shaded import shaded_by_loops
from loopverse.text.sources import anchored, open_corpus
from loopverse.text.tokenizer import ByteTokenizer, Tokenizer, load_tokenizer
from loopverse.text.windows import TokenWindows

TOKENIZERS = ("bytes", "bpe")


@dataclass
class TextConfig:
    """Settings of text, whatever is learned from it.

    Attributes:
        corpus: `stdlib` (the source of Python's standard library), a file, folder or glob, or
            `hf:NAME`, `hf:NAME:CONFIG`, `hf:FOLDER` through the `datasets` library.
        errors: what to do with bytes that are not UTF-8: `strict` refuses the file, `replace` puts
            U+FFFD, `ignore` drops them.
        text_column: which column of a data set, or key of a `.jsonl` line, is the text.
        limit: bytes of the corpus to use, from its beginning; null uses all.
        tokenizer: `bytes`, or `bpe`: byte-pair encoding learned from the training part.
        vocab_size: token ids with `bpe`, separator and padding included; `bytes` has 258.
        context: tokens in a window, and the most that a sample may have, its prompt included.
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

    def __post_init__(self) -> None:
        self.corpus = anchored(self.corpus)  # a run is resumed and evaluated from other folders


class TextDomain(DomainAdapter):
    """Windows of a corpus, embedded token by token, and a distribution over tokens for each state.

    Args:
        config: of the domain.
        width: channels of the core's state.
        num_marks: ids after those of the tokeniser that are read but never predicted, such as a mask.

    Raises:
        ValueError: an unknown tokeniser, or sizes that cannot be.
    """

    metric = "bits_per_byte"
    unit = "tokens"

    def __init__(self, config: TextConfig, width: int, num_marks: int = 0) -> None:
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
        self.embedding = nn.Embedding(self.vocab_size + num_marks, width)
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

    def embed_tokens(self, tokens: Int[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """What the core reads for some token ids."""
        x = self.embedding(tokens)
        return x * self.width**0.5 if self.config.scale_embedding else x

    def predict(self, z: Float[Tensor, "b t d"]) -> TokenDistribution:
        weight = self.embedding.weight[: self.vocab_size] if self.head is None else self.head.weight
        return TokenDistribution(F.linear(z, weight))

    def metrics(self) -> dict[str, torchmetrics.Metric]:
        return {self.metric: BitsPerByte()}

    def sizes(self, tokens: Int[Tensor, "*units"]) -> Int[Tensor, "*units"]:
        """Bytes of UTF-8 that each token stands for."""
        return self.tokenizer.token_bytes().to(tokens.device)[tokens]

    def answers(self, batch: TensorDict) -> tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"]]:
        """The token that each unit of a prepared batch stands for, and whether it is asked for."""
        return cast(Tensor, batch["targets"]), cast(Tensor, batch["weights"]) > 0

    def allocation(self, think: Think, batch: TensorDict) -> Iterator[Exhibit]:
        """The first text of the batch, every token shaded by the loops behind its prediction."""
        tokens, asked = self.answers(batch)
        depth = self(think, batch).depth
        if depth is None:  # a forward of its own that does not say
            return
        shaded = shaded_by_loops(
            tokens[0],
            depth[0],
            asked[0],
            self.tokenizer,
            title="Held-out text by loops",
            note="The shade of a token says how many loops were behind its prediction; what has none was "
            "given.",
        )
        if shaded is not None:
            yield shaded

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

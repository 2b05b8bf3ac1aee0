"""Tokenised corpora: built once, kept on disk by their content, memory-mapped."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import torch
from jaxtyping import Integer
from tensordict import MemoryMappedTensor, TensorDict
from torch import Tensor

from loopverse.text.corpus import Corpus, Part, divide
from loopverse.text.store import entry
from loopverse.text.tokenizer import BPETokenizer, Tokenizer, load_tokenizer

FORMAT = 1
"""Part of every key: raise it when the same text would give other files."""


@dataclass
class TokenisedCorpus:
    """Both parts of a corpus as token ids, memory-mapped.

    Each part is a TensorDict of `tokens` (a separator before every document and one at the end; in
    the smallest integer type that holds the vocabulary) and `offsets` (where each separator is).

    Attributes:
        source: the corpus as the user named it.
        train: documents to train on.
        valid: documents held out.
        folder: where the files are.
    """

    source: str
    train: TensorDict
    valid: TensorDict
    folder: Path

    def part(self, part: Part) -> TensorDict:
        """`train` or `valid`, by name."""
        return {"train": self.train, "valid": self.valid}[part]


def learn_bpe(corpus: Corpus, vocab_size: int) -> BPETokenizer:
    """The byte-pair encoding that the training part of a corpus gives; from the cache if it is there.

    Args:
        corpus: what to learn from.
        vocab_size: number of ids, separator and padding included.

    Raises:
        ValueError: a document cannot be read, the training part is too small for so many tokens, or
            the cache cannot be written.
    """

    def build(folder: Path) -> None:
        texts = (document.data for part, document in divide(corpus) if part == "train")
        BPETokenizer.train(texts, vocab_size).save(folder)

    folder = entry("tokenizers", f"{FORMAT} bpe {vocab_size} {corpus.survey.digest}", build)
    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer, BPETokenizer)
    return tokenizer


def tokenise(corpus: Corpus, tokenizer: Tokenizer) -> TokenisedCorpus:
    """The tokens of a corpus, from the cache if they are there.

    Raises:
        ValueError: a document cannot be read, or the cache cannot be written.
    """

    def build(folder: Path) -> None:
        for part, members in groupby(divide(corpus), key=itemgetter(0)):
            _write_part(folder / part, (document.data for _, document in members), tokenizer)

    folder = entry("tokens", f"{FORMAT} {corpus.survey.digest} {tokenizer.json}", build)
    train, valid = (TensorDict.load_memmap(folder / part) for part in ("train", "valid"))
    return TokenisedCorpus(corpus.source, train, valid, folder)


def _write_part(folder: Path, texts: Iterator[bytes], tokenizer: Tokenizer) -> None:
    """Stream the tokens of one part into a file, then describe it as a TensorDict.

    Ordinary writes, because writing through a memory map kills the process on a full disk.
    """
    dtype = _smallest_dtype(tokenizer.vocab_size)
    separator = torch.tensor([tokenizer.separator], dtype=dtype).numpy().tobytes()
    offsets = [0]
    folder.mkdir()
    with (folder / "tokens.memmap").open("wb") as file:
        for ids in tokenizer.encode_many(texts):
            file.write(separator + ids.to(dtype).numpy().tobytes())
            offsets.append(offsets[-1] + 1 + len(ids))
        file.write(separator)
    torch.tensor(offsets).numpy().tofile(folder / "offsets.memmap")
    tokens = _mapped(folder / "tokens.memmap", dtype, offsets[-1] + 1)
    starts = _mapped(folder / "offsets.memmap", torch.long, len(offsets))
    TensorDict({"tokens": tokens, "offsets": starts}).memmap_(str(folder))


def _mapped(path: Path, dtype: torch.dtype, length: int) -> Integer[Tensor, " n"]:
    return MemoryMappedTensor.from_filename(path, dtype=dtype, shape=(length,))


def _smallest_dtype(vocab_size: int) -> torch.dtype:
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if vocab_size - 1 <= torch.iinfo(dtype).max:
            return dtype
    raise AssertionError(f"a vocabulary of {vocab_size}")

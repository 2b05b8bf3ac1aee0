"""Documents, and how a corpus of them is divided into a training and a validation part."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

Part = Literal["train", "valid"]
VALID_SHARE = 0.05


@dataclass(frozen=True)
class Document:
    """One piece of text that is never divided between training and validation, unless it is alone.

    Attributes:
        name: unique in its corpus and the same on every machine; it decides the part.
        data: the text in UTF-8, not empty.
    """

    name: str
    data: bytes


class Corpus(ABC):
    """Text as a sequence of documents, in the same order every time it is read.

    Attributes:
        source: what the user asked for, as errors name it.
    """

    source: str

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """Read the documents one by one; those without text are left out.

        Raises:
            ValueError: a document cannot be read as text.
        """

    @cached_property
    def survey(self) -> "Survey":
        """What reading all of it tells; read once.

        Raises:
            ValueError: a document cannot be read, or none holds any text.
        """
        digest = hashlib.sha256()
        sizes: dict[str, int] = {}
        for document in self.documents():
            name = _raw(document.name)
            digest.update(f"{len(name)} {len(document.data)} ".encode() + name)
            digest.update(document.data)
            assert document.name not in sizes, f"two documents are named {document.name}"
            sizes[document.name] = len(document.data)
        if not sizes:
            raise ValueError(
                f"corpus {self.source} holds no text: all its documents are empty; "
                "give a file or folder with text in it"
            )
        return Survey(digest.hexdigest(), sizes)


@dataclass
class Limited(Corpus):
    """The beginning of another corpus.

    Attributes:
        corpus: the corpus to cut.
        limit: bytes of UTF-8 to keep; the document that crosses it is cut between two characters.
    """

    corpus: Corpus
    limit: int

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"domain.limit must be at least 1 byte, got {self.limit}")
        self.source = self.corpus.source

    def documents(self) -> Iterator[Document]:
        left = self.limit
        for document in self.corpus.documents():
            kept = document.data[: character_start(document.data, left)]
            if kept:
                yield replace(document, data=kept)
            left -= len(document.data)
            if left <= 0:
                return


@dataclass(frozen=True)
class Survey:
    """What one reading of a corpus tells: enough to divide it and to recognise it again.

    Attributes:
        digest: sha256 over the names and contents of all documents, in order.
        sizes: bytes of each document, by name.
    """

    digest: str
    sizes: dict[str, int]

    def valid_names(self) -> list[str]:
        """Names of the validation documents, about 5 % of the bytes, in order of their sha256.

        Documents are visited in the order of the sha256 of their names and taken until 5 % of the
        bytes are reached. One that alone is larger than 5 % of the corpus is passed over; if all
        are, the smallest is taken. So the part of a document depends on its name and not on the
        order of the files, and the first few batches of a validation pass are a fair sample of it.
        """
        budget = VALID_SHARE * sum(self.sizes.values())
        order = sorted(self.sizes, key=lambda name: hashlib.sha256(_raw(name)).digest())
        chosen: list[str] = []
        taken = 0
        for name in order:
            if taken >= budget:
                break
            if self.sizes[name] <= budget:
                chosen.append(name)
                taken += self.sizes[name]
        return chosen or [min(order, key=lambda name: self.sizes[name])]


def divide(corpus: Corpus) -> Iterator[tuple[Part, Document]]:
    """Every document with its part: training in corpus order, then validation in sha256 order.

    A corpus of one document is cut in two: its last 5 % of bytes, from the line break before them
    where there is one in the last 10 %, are the validation part.

    Raises:
        ValueError: the corpus is a single character.
    """
    if len(corpus.survey.sizes) == 1:
        (document,) = corpus.documents()
        cut = _tail_start(document.data)
        if cut == 0:
            raise ValueError(
                f"corpus {corpus.source} holds a single character, which cannot be divided into "
                "training and validation: give more text"
            )
        yield "train", replace(document, data=document.data[:cut])
        yield "valid", replace(document, data=document.data[cut:])
        return
    valid = dict.fromkeys(corpus.survey.valid_names())
    for document in corpus.documents():
        if document.name in valid:
            valid[document.name] = document
        else:
            yield "train", document
    for document in valid.values():
        assert document is not None, "the corpus changed while it was read"
        yield "valid", document


def _tail_start(data: bytes) -> int:
    cut = len(data) - max(1, round(VALID_SHARE * len(data)))
    line = data.rfind(b"\n", len(data) - round(2 * VALID_SHARE * len(data)), cut) + 1
    return line or character_start(data, cut)


def character_start(data: bytes, position: int) -> int:
    """The largest index up to `position` at which a UTF-8 character starts, or the end of `data`."""
    if position >= len(data):
        return len(data)
    while position > 0 and data[position] & 0xC0 == 0x80:
        position -= 1
    return position


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")  # file names need not be UTF-8

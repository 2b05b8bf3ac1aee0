"""Tokenisers: text to token ids and back, with the bytes that every token stands for."""

import codecs
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

if TYPE_CHECKING:
    import tokenizers

NUM_SPECIAL = 2
FILE = "tokenizer.json"
_BYTES = {"loopverse": "bytes"}


class Tokenizer(ABC):
    """Text to ids and back without loss.

    The last two ids are never the result of encoding, whatever the text says: `separator` stands
    before every document and after the last, `padding` fills what is no token at all.

    Attributes:
        pieces: the bytes of every token; none for `separator` and `padding`.
    """

    pieces: list[bytes]

    @abstractmethod
    def encode_many(self, texts: Iterable[bytes]) -> Iterator[Int[Tensor, " n"]]:
        """The ids of every text, given in UTF-8."""

    @property
    @abstractmethod
    def json(self) -> str:
        """All there is to know, for `load_tokenizer`; two that encode alike have the same."""

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into `folder`, to be read by `load_tokenizer`."""
        (folder / FILE).write_text(self.json, encoding="utf-8")

    @property
    def vocab_size(self) -> int:
        """Number of ids, `separator` and `padding` included."""
        return len(self.pieces)

    @property
    def separator(self) -> int:
        """The id between documents; as a prediction it means that the document ends."""
        return self.vocab_size - 2

    @property
    def padding(self) -> int:
        """The id in positions that hold no token."""
        return self.vocab_size - 1

    def encode(self, text: str) -> Int[Tensor, " n"]:
        """The ids of one text.

        Raises:
            ValueError: the text holds half a surrogate pair, which has no UTF-8 form.
        """
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text has no UTF-8 form: {error.reason} at character {error.start}; remove it"
            ) from None
        return next(iter(self.encode_many([data])))

    def decode(self, ids: Iterable[int] | Int[Tensor, " n"]) -> str:
        """The text of some ids; bytes that do not form a character become U+FFFD."""
        numbers = ids.tolist() if isinstance(ids, Tensor) else ids
        return b"".join(self.pieces[number] for number in numbers).decode("utf-8", "replace")

    def stream(self) -> "TextStream":
        """A decoder to be given one id at a time."""
        return TextStream(self.pieces)

    def token_bytes(self) -> Int[Tensor, " vocab"]:
        """Bytes of UTF-8 that each token stands for; 0 for `separator` and `padding`."""
        return torch.tensor([len(piece) for piece in self.pieces])


class TextStream:
    """Turns ids that arrive one by one into text, holding back the bytes of unfinished characters.

    The pieces of `push`, followed by `finish`, are together what `Tokenizer.decode` gives.
    """

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that became complete with this token; often empty."""
        return self._decoder.decode(self._pieces[token])

    def finish(self) -> str:
        """U+FFFD if the ids ended within a character, else nothing."""
        return self._decoder.decode(b"", final=True)


class ByteTokenizer(Tokenizer):
    """One token for each byte of UTF-8: 256 ids, then `separator` and `padding`."""

    def __init__(self) -> None:
        self.pieces = [bytes([byte]) for byte in range(256)] + [b""] * NUM_SPECIAL

    def encode_many(self, texts: Iterable[bytes]) -> Iterator[Int[Tensor, " n"]]:
        for text in texts:
            yield torch.frombuffer(bytearray(text or b" "), dtype=torch.uint8)[: len(text)].long()

    @property
    def json(self) -> str:
        return json.dumps(_BYTES)


class BPETokenizer(Tokenizer):
    """Byte-level byte-pair encoding by the `tokenizers` library (extra `[text]`).

    The special ids are kept outside the library's vocabulary, so that no text can spell them.
    """

    def __init__(self, model: "tokenizers.Tokenizer") -> None:
        self.model = model
        byte_of = {letter: byte for byte, letter in enumerate(_byte_letters())}
        spelled = model.get_vocab()
        self.pieces = [b""] * (len(spelled) + NUM_SPECIAL)
        for letters, number in spelled.items():
            self.pieces[number] = bytes(byte_of[letter] for letter in letters)

    @classmethod
    def train(cls, texts: Iterable[bytes], vocab_size: int) -> "BPETokenizer":
        """Learn merges from texts in UTF-8 until there are `vocab_size` ids.

        Raises:
            ValueError: `tokenizers` is not installed, `vocab_size` cannot hold all bytes, or the
                texts repeat too little to give so many tokens.
        """
        tokenizers = _library()
        if vocab_size < 256 + NUM_SPECIAL:
            raise ValueError(
                f"domain.vocab_size must be at least {256 + NUM_SPECIAL} (every byte, separator and "
                f"padding), got {vocab_size}"
            )
        model = tokenizers.Tokenizer(tokenizers.models.BPE())
        model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        model.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size - NUM_SPECIAL,
            initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        model.train_from_iterator((text.decode() for text in texts), trainer)
        found = model.get_vocab_size() + NUM_SPECIAL
        if found != vocab_size:
            raise ValueError(
                f"domain.vocab_size is {vocab_size}, but the training text only gives {found} tokens: "
                f"set domain.vocab_size={found}, or use a larger corpus"
            )
        return cls(model)

    def encode_many(self, texts: Iterable[bytes]) -> Iterator[Int[Tensor, " n"]]:
        remaining = iter(texts)
        while some := list(islice(remaining, 256)):
            for encoding in self.model.encode_batch_fast([text.decode() for text in some]):
                yield torch.tensor(encoding.ids, dtype=torch.long)

    @property
    def json(self) -> str:
        return self.model.to_str()


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokeniser that was saved in `folder`; needs neither the corpus nor a network.

    Raises:
        ValueError: there is none, or it is not one of ours.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot read a tokeniser from {path}: {error}; copy the file from an intact run"
        ) from None
    if content == _BYTES:
        return ByteTokenizer()
    try:
        return BPETokenizer(_library().Tokenizer.from_str(text))
    except ValueError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise ValueError(
            f"{path} is not a byte-level tokeniser ({error}); copy the file from an intact run"
        ) from None


def _byte_letters() -> list[str]:
    """The printable letter that byte-level BPE writes for each byte (Radford et al. 2019, GPT-2)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _library():
    """The module `tokenizers`, imported late because it is an extra."""
    try:
        import tokenizers
    except ImportError:
        raise ValueError(
            "byte-pair encoding needs the tokenizers library: pip install 'loopverse[text]'"
        ) from None
    return tokenizers

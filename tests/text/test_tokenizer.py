"""Text to ids and back: nothing lost, every byte counted, no half characters."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loopverse.text import BPETokenizer, ByteTokenizer, Tokenizer, load_tokenizer

TEXTS = [b"the cat sat on the mat, the dog sat on the cat\n" * 20, "naïve café €\n".encode() * 9]


@cache
def tokenizers() -> list[Tokenizer]:
    pytest.importorskip("tokenizers")
    return [ByteTokenizer(), BPETokenizer.train(TEXTS, 280)]


both = pytest.mark.parametrize("which", [0, 1], ids=["bytes", "bpe"])
awkward = st.text() | st.sampled_from(["<|separator|>", "Ġ", " \t\r\n\0", "👩‍🚀", "the cat"])


@both
@given(text=awkward)
def test_decoding_undoes_encoding(which: int, text: str) -> None:
    tokenizer = tokenizers()[which]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids.tolist()) & {tokenizer.separator, tokenizer.padding}


@both
@given(text=awkward)
def test_token_bytes_add_up_to_the_bytes_of_the_text(which: int, text: str) -> None:
    tokenizer = tokenizers()[which]
    assert tokenizer.token_bytes()[tokenizer.encode(text)].sum() == len(text.encode())


@both
@given(texts=st.lists(awkward, max_size=5))
def test_encoding_many_is_encoding_each(which: int, texts: list[str]) -> None:
    tokenizer = tokenizers()[which]
    many = list(tokenizer.encode_many(text.encode() for text in texts))
    assert [ids.tolist() for ids in many] == [tokenizer.encode(text).tolist() for text in texts]


@both
@given(data=st.data())
def test_streamed_pieces_are_whole_characters_and_add_up(which: int, data: st.DataObject) -> None:
    tokenizer = tokenizers()[which]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20))
    stream = tokenizer.stream()
    pieces = [stream.push(number) for number in ids]
    assert "".join(pieces) + stream.finish() == tokenizer.decode(ids)


@both
def test_a_character_is_streamed_when_its_last_byte_is_there(which: int) -> None:
    tokenizer = tokenizers()[which]
    stream = tokenizer.stream()
    pieces = [stream.push(number) for number in tokenizer.encode("a🚀b").tolist()]
    assert [piece for piece in pieces if piece] == ["a", "🚀", "b"]
    assert stream.finish() == ""


@both
def test_special_ids_are_the_last_two_and_stand_for_no_bytes(which: int) -> None:
    tokenizer = tokenizers()[which]
    assert (tokenizer.separator, tokenizer.padding) == (
        tokenizer.vocab_size - 2,
        tokenizer.vocab_size - 1,
    )
    assert tokenizer.token_bytes()[-2:].tolist() == [0, 0]
    assert (tokenizer.token_bytes()[:-2] > 0).all()
    assert tokenizer.decode(torch.tensor([tokenizer.separator, tokenizer.padding])) == ""


def test_the_vocabulary_has_the_size_that_was_asked_for() -> None:
    assert [tokenizer.vocab_size for tokenizer in tokenizers()] == [258, 280]


@both
def test_a_saved_tokenizer_encodes_alike_and_saves_alike(which: int, tmp_path: Path) -> None:
    tokenizer = tokenizers()[which]
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert type(loaded) is type(tokenizer)
    assert loaded.json == tokenizer.json
    assert loaded.pieces == tokenizer.pieces
    text = "the naïve cat 🚀"
    assert loaded.encode(text).tolist() == tokenizer.encode(text).tolist()


def test_training_twice_gives_the_same_tokenizer() -> None:
    assert BPETokenizer.train(TEXTS, 280).json == tokenizers()[1].json


def test_a_vocabulary_too_small_for_all_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="vocab_size must be at least 258"):
        BPETokenizer.train(TEXTS, 257)


def test_a_vocabulary_too_large_for_the_text_is_refused_with_one_that_fits() -> None:
    with pytest.raises(ValueError, match=r"set domain\.vocab_size=\d+") as caught:
        BPETokenizer.train(TEXTS, 5000)
    fits = int(str(caught.value).split("vocab_size=")[1].split(",")[0])
    assert BPETokenizer.train(TEXTS, fits).vocab_size == fits


@both
def test_half_a_surrogate_pair_is_refused(which: int) -> None:
    with pytest.raises(ValueError, match="no UTF-8 form: surrogates not allowed at character 2"):
        tokenizers()[which].encode("ab\udc80")


@pytest.mark.parametrize("content", [None, "{", "{}", json.dumps({"loopverse": "words"})])
def test_a_missing_or_foreign_file_is_refused_by_name(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json.*intact run"):
        load_tokenizer(tmp_path)

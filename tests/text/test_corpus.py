"""How a corpus is divided, shortened and recognised."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopverse.text import Corpus, Document, Limited, open_corpus
from loopverse.text.corpus import divide


@dataclass
class Listed(Corpus):
    """A corpus from a list, for tests."""

    texts: list[str]
    source: str = "a list"

    def documents(self) -> Iterator[Document]:
        for number, text in enumerate(self.texts):
            if text:
                yield Document(f"{number}", text.encode())


def parts(corpus: Corpus) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {"train": {}, "valid": {}}
    for part, document in divide(corpus):
        found[part][document.name] = document.data
    return found


several = st.lists(st.text(min_size=1, max_size=40), min_size=2, max_size=30)


@given(several)
def test_every_document_is_whole_and_in_exactly_one_part(texts: list[str]) -> None:
    found = parts(Listed(texts))
    assert found["train"]
    assert found["valid"]
    assert not found["train"].keys() & found["valid"].keys()
    joined = found["train"] | found["valid"]
    assert joined == {str(number): text.encode() for number, text in enumerate(texts)}


@given(several, st.randoms())
def test_the_part_of_a_document_does_not_depend_on_the_order_of_the_files(texts, random) -> None:
    documents = list(Listed(texts).documents())
    random.shuffle(documents)

    @dataclass
    class Shuffled(Corpus):
        source: str = "shuffled"

        def documents(self) -> Iterator[Document]:
            yield from documents

    assert parts(Shuffled()) == parts(Listed(texts))


def test_the_validation_part_of_the_standard_library_is_about_five_per_cent() -> None:
    corpus = open_corpus("stdlib")
    sizes = corpus.survey.sizes
    held_out = sum(sizes[name] for name in corpus.survey.valid_names())
    assert 0.05 <= held_out / sum(sizes.values()) < 0.10


def test_a_large_document_does_not_become_the_validation_part() -> None:
    found = parts(Listed(["x" * 10_000, "small", "y" * 300]))
    assert list(found["train"].values()) == [b"x" * 10_000]
    assert list(parts(Listed(["x" * 50, "y" * 60]))["valid"].values()) == [b"x" * 50]


@given(st.text(min_size=2, max_size=200))
def test_a_single_document_is_cut_at_its_tail_and_loses_nothing(text: str) -> None:
    train, valid = (b"".join(part.values()) for part in parts(Listed([text])).values())
    assert (train + valid).decode() == text
    assert train.decode()
    assert valid.decode()


def test_a_single_document_is_cut_before_a_line_when_it_has_lines() -> None:
    found = parts(Listed(["a line of text\n" * 101]))
    assert found["train"]["0"].endswith(b"\n")
    assert found["valid"]["0"].startswith(b"a line")
    assert 0.05 <= len(found["valid"]["0"]) / 1515 <= 0.10


def test_a_single_character_is_refused() -> None:
    with pytest.raises(ValueError, match="a list holds a single character"):
        parts(Listed(["é"]))


def test_a_corpus_of_empty_documents_is_refused() -> None:
    with pytest.raises(ValueError, match="a list holds no text"):
        _ = Listed(["", ""]).survey


@given(several, st.integers(1, 200))
def test_a_limited_corpus_is_the_beginning_of_the_whole(texts: list[str], limit: int) -> None:
    whole = "".join(texts)
    kept = b"".join(d.data for d in Limited(Listed(texts), limit).documents())
    assert len(kept) <= limit
    assert whole.startswith(kept.decode())
    assert len(kept) > limit - 4 or kept.decode() == whole


def test_a_limit_below_one_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 byte, got 0"):
        Limited(Listed(["text"]), 0)


@pytest.mark.parametrize("change", ["content", "name"])
def test_the_digest_changes_with_content_and_name(change: str, folder: Path) -> None:
    before = open_corpus(str(folder)).survey.digest
    assert open_corpus(str(folder)).survey.digest == before
    first = folder / "part0" / "00.txt"
    if change == "content":
        first.write_text(first.read_text().replace("0", "1"))
    else:
        first.rename(folder / "part0" / "01.txt")
    assert open_corpus(str(folder)).survey.digest != before


def test_the_digest_changes_with_the_border_between_documents() -> None:
    assert Listed(["x1y", "z"]).survey.digest != Listed(["x", "y1z"]).survey.digest

"""The cache: built once, found again by content, mended when damaged."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tensordict import MemoryMappedTensor

from loopverse.text import (
    BPETokenizer,
    ByteTokenizer,
    TokenisedCorpus,
    cache_root,
    learn_bpe,
    open_corpus,
    tokenise,
)
from loopverse.text import cache as cache_module


def build(folder: Path) -> TokenisedCorpus:
    return tokenise(open_corpus(str(folder)), ByteTokenizer())


def no_building(*_: object) -> None:
    raise AssertionError("the cache was built again")


def decoded(corpus: TokenisedCorpus) -> dict[str, list[str]]:
    """The documents of both parts, cut out at the offsets."""
    tokenizer = ByteTokenizer()
    found: dict[str, list[str]] = {}
    for part in ("train", "valid"):
        tokens, offsets = corpus.part(part)["tokens"], corpus.part(part)["offsets"].tolist()
        assert len(tokens) == offsets[-1] + 1
        assert (tokens[offsets] == tokenizer.separator).all()
        pairs = pairwise(offsets)
        found[part] = [tokenizer.decode(tokens[a + 1 : b].tolist()) for a, b in pairs]
    return found


def test_the_parts_hold_every_document_between_separators(folder: Path) -> None:
    found = decoded(build(folder))
    texts = sorted(path.read_text() for path in folder.rglob("*.txt"))
    assert sorted(found["train"] + found["valid"]) == texts
    assert len(found["valid"]) >= 2


def test_tokens_are_memory_mapped_in_the_smallest_type(folder: Path) -> None:
    corpus = build(folder)
    assert corpus.train["tokens"].dtype == torch.int16
    assert isinstance(corpus.train["tokens"], MemoryMappedTensor)
    assert corpus.folder.parent == cache_root() / "tokens"


def test_a_second_time_nothing_is_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(folder)
    monkeypatch.setattr(cache_module, "_write_part", no_building)
    second = build(folder)
    assert second.folder == first.folder
    assert decoded(second) == decoded(first)


def test_changed_text_or_another_tokenizer_is_another_entry(folder: Path) -> None:
    pytest.importorskip("tokenizers")
    corpus = open_corpus(str(folder))
    folders = {build(folder).folder, tokenise(corpus, learn_bpe(corpus, 270)).folder}
    (folder / "more.txt").write_text("more text")
    folders.add(build(folder).folder)
    assert len(folders) == 3


def test_byte_pairs_are_learned_once_and_from_the_training_part_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tokenizers")
    corpus = open_corpus(str(folder))
    for name in corpus.survey.valid_names():  # other text of the same size, so the same parts
        size = (folder / name).stat().st_size
        (folder / name).write_text(("zq" * size)[:size])
    corpus = open_corpus(str(folder))
    learned = learn_bpe(corpus, 280)
    assert not any(b"zq" in piece for piece in learned.pieces)
    monkeypatch.setattr(BPETokenizer, "train", no_building)
    assert learn_bpe(corpus, 280).json == learned.json


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "half", "garbage"])
def test_a_damaged_entry_is_noticed_and_built_anew(damage: str, folder: Path) -> None:
    corpus = build(folder)
    expected, tokens = decoded(corpus), corpus.folder / "train" / "tokens.memmap"
    data = tokens.read_bytes()
    if damage == "flipped":
        tokens.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    elif damage == "truncated":
        tokens.write_bytes(data[:100])
    elif damage == "missing":
        tokens.unlink()
    elif damage == "half":
        (corpus.folder / "manifest.json").unlink()
    else:
        (corpus.folder / "manifest.json").write_text("{")
    assert decoded(build(folder)) == expected


def test_a_build_that_fails_leaves_nothing_that_looks_finished(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(cache_module.TensorDict, "memmap_", no_building)
        with pytest.raises(AssertionError):
            build(folder)
    assert not [path for path in (cache / "tokens").iterdir() if path.is_dir()]
    leftover = build(folder).folder.with_suffix(".building")
    leftover.mkdir()
    (leftover / "junk").touch()
    (leftover.with_suffix("") / "manifest.json").unlink()
    assert decoded(build(folder))
    assert not leftover.exists()


def test_a_cache_that_cannot_be_written_is_refused_with_the_remedy(
    folder: Path,
    open_folder: Path,
    unprivileged: Callable[[], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus = open_corpus(str(folder))
    _ = corpus.survey
    closed = open_folder / "closed"
    closed.mkdir(mode=0o555)
    monkeypatch.setenv("LOOPVERSE_CACHE", str(closed))
    with unprivileged(), pytest.raises(ValueError, match=r"permission denied.*LOOPVERSE_CACHE"):
        tokenise(corpus, ByteTokenizer())


def test_a_cache_may_be_read_only_when_the_entry_is_there(
    folder: Path,
    open_folder: Path,
    unprivileged: Callable[[], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOOPVERSE_CACHE", str(open_folder))
    expected = decoded(build(folder))
    corpus = open_corpus(str(folder))
    _ = corpus.survey
    with unprivileged():
        assert decoded(tokenise(corpus, ByteTokenizer())) == expected


def test_a_full_disk_is_refused_with_the_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "_write_part", full)
    with pytest.raises(ValueError, match="no space left on device; set LOOPVERSE_CACHE"):
        build(folder)


def test_the_cache_is_in_the_users_cache_folder_unless_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert cache_root().name == "cache"
    monkeypatch.delenv("LOOPVERSE_CACHE")
    assert cache_root().is_absolute()
    assert "loopverse" in cache_root().parts

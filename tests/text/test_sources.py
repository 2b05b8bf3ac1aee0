"""Where text comes from, and how each mistake is refused in one line."""

import builtins
import json
import os
import socket
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from loopverse.text import Corpus, TextConfig, open_corpus
from loopverse.text.sources import anchored
from loopverse.training.compose import compose
from loopverse.training.config import load_config, save_config


def texts(corpus: Corpus) -> dict[str, str]:
    return {document.name: document.data.decode() for document in corpus.documents()}


def refusal(spec: Path | str, *arguments: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        texts(open_corpus(str(spec), *arguments))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_standard_library_is_its_modules_without_tests_and_packages() -> None:
    names = list(texts(open_corpus("stdlib")))
    assert {"argparse.py", "json/decoder.py"} <= set(names)
    assert names == sorted(names)
    assert all(name.endswith(".py") for name in names)
    folders = {part for name in names for part in name.split("/")[:-1]}
    assert not folders & {"test", "tests", "site-packages", "__pycache__", "idlelib", "lib2to3"}


def test_a_folder_is_read_recursively_under_names_relative_to_it(folder: Path) -> None:
    (folder / ".hidden").write_text("no")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("no")
    (folder / "empty.txt").touch()
    found = texts(open_corpus(str(folder)))
    assert len(found) == 40
    assert found["part1/07.txt"].startswith("document 7\n")
    assert list(found) == sorted(found)


def test_the_names_do_not_depend_on_where_the_folder_lies(folder: Path, tmp_path: Path) -> None:
    before = texts(open_corpus(str(folder)))
    elsewhere = folder.rename(tmp_path / "elsewhere")
    assert texts(open_corpus(str(elsewhere))) == before


def test_a_file_is_one_document_and_keeps_its_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "crlf.txt"
    path.write_bytes("\ufeffone\r\ntwo é\r\n".encode())
    assert texts(open_corpus(str(path))) == {"crlf.txt": "\ufeffone\r\ntwo é\r\n"}


@pytest.mark.parametrize("relative", [True, False])
def test_a_glob_finds_files_in_any_folder(
    relative: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "part0" / "picture.bin").write_bytes(b"\0")
    monkeypatch.chdir(folder.parent)
    spec = "corpus/**/*.txt" if relative else f"{folder}/**/*.txt"
    assert texts(open_corpus(spec)) == {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*.txt"))
    }


@pytest.mark.parametrize("spec", ["corpus", "corpus/part0/00.txt", "corpus/**/*0.txt", "./corpus"])
@pytest.mark.parametrize("name", ["work", "work [old]"])
def test_a_relative_source_is_the_same_from_any_folder(
    spec: str, name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    folder.rename(tmp_path / name / "corpus")
    monkeypatch.chdir(tmp_path / name)
    here, config = texts(open_corpus(spec)), TextConfig(spec)
    monkeypatch.chdir(tmp_path)
    assert here
    assert texts(open_corpus(config.corpus)) == here
    assert anchored(config.corpus) == config.corpus


def test_no_name_is_not_the_folder_we_are_in() -> None:
    with pytest.raises(ValueError, match="must name a source, got nothing"):
        open_corpus(TextConfig("").corpus)


def test_only_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows").mkdir()
    for spec in ("", "stdlib", "hf:name", "hf:owner/name:config", "/text/one.txt"):
        assert anchored(spec) == spec
    assert anchored("hf:rows") == f"hf:{tmp_path / 'rows'}"
    assert anchored("~/text") == str(Path.home() / "text")


def test_the_lines_of_a_jsonl_file_are_documents(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "one"}, {"text": ""}, {"text": None}, {"text": "vier é\u2028"}]
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")
    assert texts(open_corpus(str(path))) == {"rows.jsonl:1": "one", "rows.jsonl:7": "vier é\u2028"}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: expected one JSON object a line"),
        ("[1]", "line 2: expected a JSON object, got list"),
        ('{"body": "x"}', "line 2: no column 'text'; it has body: set domain.text_column"),
        ('{"text": 3}', "line 2: column 'text' must hold text, got int"),
        (r'{"text": "\ud800"}', "line 2: surrogates not allowed at character 0"),
    ],
)
def test_a_bad_line_is_named(line: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "good"}\n' + line)
    assert complaint in refusal(path)


def test_half_a_surrogate_pair_follows_the_errors_choice(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(r'{"text": "a\ud800b"}')
    assert texts(open_corpus(str(path), "replace")) == {"rows.jsonl:1": "a?b"}
    assert texts(open_corpus(str(path), "ignore")) == {"rows.jsonl:1": "ab"}


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(tmp_path / "nowhere")
    assert "the glob matches no file" in refusal(tmp_path / "*.txt")


def test_an_empty_folder_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "the folder has no files in it" in refusal(empty)
    (empty / "file.txt").touch()
    for spec in (empty, empty / "file.txt"):
        with pytest.raises(ValueError, match="holds no text"):
            _ = open_corpus(str(spec)).survey


def test_a_binary_file_is_refused_by_name(folder: Path) -> None:
    (folder / "part0" / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    message = refusal(folder)
    assert "picture.png: expected text, got a binary file (a NUL at byte 8)" in message


def test_text_that_is_not_utf8_is_refused_by_name_or_repaired_by_choice(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("café au lait".encode("latin-1"))
    message = refusal(path)
    assert "latin.txt: not UTF-8 (byte 0xe9 at 3)" in message
    assert "errors=replace" in message
    assert texts(open_corpus(str(path), "replace")) == {"latin.txt": "caf\ufffd au lait"}
    assert texts(open_corpus(str(path), "ignore")) == {"latin.txt": "caf au lait"}
    assert "strict, replace or ignore, got mend" in refusal(path, "mend")


def test_a_file_without_read_permission_is_refused_by_name(
    open_folder: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    path = open_folder / "secret.txt"
    path.write_text("secret")
    path.chmod(0)
    with unprivileged():
        assert "secret.txt: permission denied" in refusal(path)
        assert "secret.txt: permission denied" in refusal(open_folder)


def test_a_folder_without_read_permission_is_refused_by_name(
    open_folder: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    closed = open_folder / "closed"
    closed.mkdir()
    (closed / "text.txt").write_text("text")
    (open_folder / "text.txt").write_text("text")
    closed.chmod(0)
    with unprivileged():
        for spec in (open_folder, closed, closed / "text.txt"):
            assert "permission denied" in refusal(spec)
    closed.chmod(0o755)


def test_a_special_file_is_refused_rather_than_waited_for() -> None:
    with tempfile.TemporaryDirectory() as folder:
        fifo = Path(folder, "pipe")
        os.mkfifo(fifo)
        assert "got a special file" in refusal(fifo)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{folder}/socket")
            Path(folder, "text.txt").write_text("text")
            assert list(texts(open_corpus(folder))) == ["text.txt"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    lines = [json.dumps({"body": f"row {number}", "title": "t"}) for number in range(5)]
    (folder / "train.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("limit", [None, 17])
def test_a_local_data_set_gives_its_rows(limit: int | None, rows: Path) -> None:
    pytest.importorskip("datasets")
    corpus = open_corpus(f"hf:{rows}", text_column="body", limit=limit)
    expected = {f"row {number}": f"row {number}" for number in range(5)}
    if limit:
        expected = {"row 0": "row 0", "row 1": "row 1", "row 2": "row 2", "row 3": "ro"}
    assert texts(corpus) == expected
    assert texts(corpus) == expected


@pytest.mark.parametrize("splits", [True, False])
def test_a_data_set_saved_to_disk_gives_its_rows(splits: bool, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    saved = datasets.Dataset.from_dict({"text": ["one", "two", None]})
    if splits:
        saved = datasets.DatasetDict(train=saved)
    saved.save_to_disk(tmp_path / "saved")
    assert texts(open_corpus(f"hf:{tmp_path / 'saved'}")) == {"row 0": "one", "row 1": "two"}


def test_a_data_set_without_the_column_is_refused_with_those_it_has(rows: Path) -> None:
    pytest.importorskip("datasets")
    assert "no column 'text'; it has body, title: set domain.text_column" in refusal(f"hf:{rows}")


def test_a_data_set_that_does_not_load_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "nothing").mkdir()
    assert "datasets cannot load its training split" in refusal(f"hf:{tmp_path / 'nothing'}")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object, **named: object) -> object:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'loopverse[text]'" in refusal("hf:anything")


def test_a_run_finds_its_relative_corpus_from_any_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_config(compose(["domain.corpus=corpus"]), tmp_path)
    monkeypatch.chdir(folder)
    assert load_config(tmp_path).domain.corpus == str(folder)

"""Where text comes from: Python's own source, files, folders and globs, data sets."""

import glob
import json
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loopverse.text.corpus import Corpus, Document, Limited
from loopverse.text.rows import DatasetRows, DecodeErrors, column_text, decode_errors

STDLIB_LEFT_OUT = frozenset(
    ("site-packages", "dist-packages", "test", "tests", "__pycache__", "idlelib", "lib2to3")
)


def open_corpus(
    spec: str,
    errors: str = "strict",
    *,
    text_column: str = "text",
    limit: int | None = None,
) -> Corpus:
    """The corpus that `spec` names.

    Args:
        spec: `stdlib`, the source of the running Python's standard library; a file, a folder (read
            recursively, hidden files left out) or a glob; `hf:NAME`, `hf:NAME:CONFIG` or
            `hf:FOLDER`, the training split of a data set that `datasets` can load.
        errors: what to do with bytes that are not UTF-8: `strict` refuses the file, `replace` puts
            U+FFFD, `ignore` drops them.
        text_column: which column of a data set, or key of a `.jsonl` line, is the text.
        limit: bytes of text to read at most; None reads all.

    Raises:
        ValueError: the source does not exist, holds nothing or is not readable.
    """
    policy = decode_errors(errors)
    if not spec:
        raise ValueError(
            "domain.corpus must name a source, got nothing: stdlib, a file, a folder, a glob or hf:NAME"
        )
    if spec == "stdlib":
        corpus: Corpus = stdlib(policy)
    elif spec.startswith("hf:"):
        corpus = DatasetRows(spec, policy, text_column, streaming=limit is not None)
    else:
        corpus = Files(spec, _find_files(spec), policy, text_column)
    return corpus if limit is None else Limited(corpus, limit)


def anchored(spec: str) -> str:
    """The same source from whatever folder it is asked for: paths made absolute, nothing opened."""
    kind = "hf:" if spec.startswith("hf:") else ""
    path = Path(spec.removeprefix(kind)).expanduser()
    if spec in ("", "stdlib") or (kind and not path.exists()):
        return spec
    here = str(Path.cwd())
    if glob.has_magic(spec) and not path.exists():
        here = glob.escape(here)  # the folder we are in is no pattern, whatever its name
    return kind + str(Path(here, path))


@dataclass
class Files(Corpus):
    """Files as documents; of a `.jsonl` file, every line is one.

    Attributes:
        source: what the user asked for.
        paths: where each document is, by its name, in the order of the names.
        errors: what to do with bytes that are not UTF-8.
        text_column: the key of a `.jsonl` line that holds the text.
    """

    source: str
    paths: dict[str, Path]
    errors: DecodeErrors = "strict"
    text_column: str = "text"

    def documents(self) -> Iterator[Document]:
        for name, path in self.paths.items():
            data = _read(path, self.errors)
            if path.suffix == ".jsonl":
                yield from self._lines(name, path, data)
            elif data:
                yield Document(name, data)

    def _lines(self, name: str, path: Path, data: bytes) -> Iterator[Document]:
        for number, line in enumerate(data.split(b"\n"), start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{where}: expected one JSON object a line, {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"{where}: expected a JSON object, got {type(row).__name__}")
            if text := column_text(row, self.text_column, self.errors, where):
                yield Document(f"{name}:{number}", text)


def stdlib(errors: DecodeErrors = "strict") -> Files:
    """The Python source of the running interpreter's standard library, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = {
        name: path
        for name, path in _walk(root, leave_out=STDLIB_LEFT_OUT).items()
        if path.suffix == ".py" and not path.name.startswith("_sysconfigdata")
    }
    if not paths:
        raise ValueError(
            f"corpus stdlib: this Python has no source files in {root}; give a folder of text"
        )
    return Files("stdlib", paths, errors)


def _find_files(spec: str) -> dict[str, Path]:
    path = Path(spec).expanduser()
    try:
        if path.is_file():
            return {path.name: path}
        if path.is_dir():
            paths = _walk(path)
            if not paths:
                raise ValueError(
                    f"corpus {spec}: the folder has no files in it; give one with text"
                )
            return paths
    except OSError as error:
        raise _unreadable(error.filename or path, error) from None
    if path.exists():
        raise ValueError(f"corpus {spec}: expected a file or folder of text, got a special file")
    if not glob.has_magic(spec):
        raise ValueError(
            f"corpus {spec}: no such file or folder; "
            "expected stdlib, a path, a glob or hf:NAME (quote a glob, so the shell leaves it alone)"
        )
    anchor = Path(path.anchor)  # Path.glob takes relative patterns only
    pattern = path.relative_to(anchor) if path.is_absolute() else path
    matches = anchor.glob(str(pattern))
    files = [match for match in matches if match.is_file()]
    if not files:
        raise ValueError(f"corpus {spec}: the glob matches no file; ** stands for any folders")
    root = os.path.commonpath([file.parent for file in files])
    return dict(sorted((file.relative_to(root).as_posix(), file) for file in files))


def _walk(root: Path, leave_out: frozenset[str] = frozenset()) -> dict[str, Path]:
    """Regular files below `root` by relative name, in the order of the names; no hidden ones."""

    def refuse(error: OSError) -> None:
        raise _unreadable(error.filename, error) from None

    paths: dict[str, Path] = {}
    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if name not in leave_out and name[0] != "."]
        for name in files:
            path = Path(folder, name)
            if name[0] != "." and path.is_file():
                paths[path.relative_to(root).as_posix()] = path
    return dict(sorted(paths.items()))


def _read(path: Path, errors: DecodeErrors) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    if (nul := data.find(b"\0")) >= 0:
        raise ValueError(
            f"{path}: expected text, got a binary file (a NUL at byte {nul}); leave it out with a "
            "glob such as 'FOLDER/**/*.txt', or convert it to UTF-8 if it is text in UTF-16"
        )
    try:
        text = data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 (byte 0x{data[error.start]:02x} at {error.start}); "
            "convert it, or choose domain.errors=replace or domain.errors=ignore"
        ) from None
    return data if errors == "strict" else text.encode()


def _unreadable(path: str | Path, error: OSError) -> ValueError:
    reason = (error.strerror or str(error)).lower()
    return ValueError(f"cannot read {path}: {reason}; grant read permission or leave it out")

"""Documents that are rows: of a data set that the `datasets` library loads, of a table of text."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from loopverse.text.corpus import Corpus, Document

DecodeErrors = Literal["strict", "replace", "ignore"]
"""What to do with text that is not valid: refuse it, mark it with U+FFFD or "?", drop it."""


@dataclass
class DatasetRows(Corpus):
    """Rows of the training split of a data set, read through the `datasets` library.

    Attributes:
        source: `hf:NAME`, `hf:NAME:CONFIG`, or `hf:FOLDER` with data files or a saved data set.
        errors: what to do with text that has no UTF-8 form.
        text_column: the column that holds the text.
        streaming: fetch rows as they are read instead of the whole data set first.
    """

    source: str
    errors: DecodeErrors = "strict"
    text_column: str = "text"
    streaming: bool = False
    _rows: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._rows = self._load()

    def documents(self) -> Iterator[Document]:
        try:
            for number, row in enumerate(self._rows):
                where = f"{self.source}, row {number}"
                if text := column_text(row, self.text_column, self.errors, where):
                    yield Document(f"row {number}", text)
        except OSError as error:  # streaming: the network or the disk gave out
            raise ValueError(
                f"corpus {self.source}: reading stopped: {error}; try again"
            ) from error

    def _load(self) -> Any:
        try:
            import datasets
        except ImportError:
            raise ValueError(
                f"corpus {self.source} needs the datasets library: pip install 'loopverse[text]'"
            ) from None
        name, config = self.source.removeprefix("hf:"), None
        folder = Path(name).expanduser()
        if not folder.exists() and ":" in name:
            name, config = name.rsplit(":", 1)
        try:
            if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
                saved = datasets.load_from_disk(str(folder))
                return saved["train"] if isinstance(saved, dict) else saved
            where = str(folder) if folder.exists() else name
            return datasets.load_dataset(where, config, split="train", streaming=self.streaming)
        except Exception as error:  # the library raises a dozen kinds, down to bare KeyError
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(
                f"corpus {self.source}: datasets cannot load its training split: {reason}; "
                "expected hf:NAME, hf:NAME:CONFIG or hf:FOLDER"
            ) from error


def column_text(row: dict[str, Any], column: str, errors: DecodeErrors, where: str) -> bytes:
    """The text of a row in UTF-8; empty where the row has none.

    Raises:
        ValueError: there is no such column, it is not text, or it has no UTF-8 form.
    """
    if column not in row:
        raise ValueError(
            f"{where}: no column '{column}'; it has {', '.join(sorted(row))}: set domain.text_column"
        )
    text = row[column]
    if text is None:
        return b""
    if not isinstance(text, str):
        raise ValueError(
            f"{where}: column '{column}' must hold text, got {type(text).__name__}: set domain.text_column"
        )
    try:
        return text.encode("utf-8", "strict" if errors == "strict" else errors)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: {error.reason} at character {error.start}; "
            "repair it, or choose domain.errors=replace or domain.errors=ignore"
        ) from None


def decode_errors(errors: str) -> DecodeErrors:
    """The policy a user named.

    Raises:
        ValueError: there is no such policy.
    """
    if errors not in get_args(DecodeErrors):
        raise ValueError(f"domain.errors must be strict, replace or ignore, got {errors}")
    return cast(DecodeErrors, errors)

"""What was measured, as JSON in a run folder: figures that are not finite become null and come back."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopverse.training.files import write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def write_record(path: Path, record: "DataclassInstance") -> None:
    """Replace `path` by a dataclass in which nothing is None, atomically."""
    write_text(path, json.dumps(_finite(asdict(record)), indent=1) + "\n")


def read_record(path: Path) -> Any:
    """What `write_record` wrote, as plain lists and dictionaries; null is not a number.

    Raises:
        ValueError: the file is not JSON.
    """
    return _restored(json.loads(path.read_text(encoding="utf-8")))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _restored(value: Any) -> Any:
    """The inverse of `_finite`, where nothing else can be null."""
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return math.nan if value is None else value

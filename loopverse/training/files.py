"""Files and folders that are either complete on disk or not there."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from loopverse.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`; a crash at any moment leaves the old file or the new one."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, atomically."""
    temporary = _temporary(path)
    try:
        temporary.write_bytes(content)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file, atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        UserError: the file is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged and cannot be read as JSON") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: expected an object")
    return content


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill the folder that is yielded; it takes the name `path` when everything in it is on disk.

    A folder that is already at `path` is replaced.
    """
    temporary = _temporary(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for path_inside in temporary.rglob("*"):
            sync(path_inside)
        sync(temporary)
        if path.exists():
            discard(path)
        temporary.rename(path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def refusals_explained(run: Path) -> Iterator[None]:
    """Turn the system's refusal to write below `run` into a sentence that says what to do.

    Raises:
        UserError: the disk is full, or the place may not be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        code = getattr(error, "errno", None)
        if code is None:  # safetensors hands on what the system said as text only
            told = re.search(r"os error (\d+)", str(error))
            code = int(told[1]) if told else None
        if code in FULL:
            raise UserError(
                f"the disk that holds {run} is full and what was being written is given up; older "
                f"checkpoints are untouched: free some space, then go on with `loopverse train "
                f"run={run}`"
            ) from error
        if code in FORBIDDEN and str(run) in str(getattr(error, "filename", run)):
            raise UserError(
                f"cannot write {run} ({os.strerror(code)}): mend its permissions, or choose another "
                "place with runs=..."
            ) from error
        raise


def discard(folder: Path) -> None:
    """Remove a folder; a crash on the way never leaves half of it under its name."""
    temporary = _temporary(folder, "discarded")
    folder.rename(temporary)
    shutil.rmtree(temporary)


def sweep(folder: Path) -> None:
    """Remove what writers that died left in `folder`."""
    for leftover in folder.glob(".*.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def sync(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders, and needs no such call
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _temporary(path: Path, what: str = "new") -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{what}.tmp")

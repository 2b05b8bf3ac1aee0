"""A folder of things computed once and found again by a key, shared by processes."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

MANIFEST = "manifest.json"
log = logging.getLogger("loopverse.text")


def cache_root() -> Path:
    """`LOOPVERSE_CACHE` if it is set, else `loopverse` in the user's cache folder."""
    if chosen := os.environ.get("LOOPVERSE_CACHE"):
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("loopverse")


def entry(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder that `build` fills, from the cache if it is there.

    It is filled beside its place, under a lock, and moved there complete: of two processes that ask
    at once, one builds and both read. Its files are compared with their sha256 each time; an entry
    that fails, because the machine or a disk did, is built anew.

    Args:
        kind: which shelf of the cache.
        key: all that the contents depend on.
        build: writes files into a folder; not called if the entry is there.

    Raises:
        ValueError: the cache cannot be written.
    """
    shelf = cache_root() / kind
    folder = shelf / hashlib.sha256(key.encode()).hexdigest()[:32]
    if _intact(folder):
        return folder
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not _intact(folder):
                _fill(folder, build)
    except OSError as error:
        raise ValueError(
            f"cannot write the cache {shelf}: {(error.strerror or str(error)).lower()}; "
            "set LOOPVERSE_CACHE to a folder with space where you may write"
        ) from error
    return folder


def _fill(folder: Path, build: Callable[[Path], None]) -> None:
    building = folder.with_suffix(".building")
    if folder.exists():
        log.warning("the cache entry %s is damaged; building it anew", folder)
    for leftover in (folder, building):
        if leftover.exists():
            shutil.rmtree(leftover)
    building.mkdir()
    try:
        build(building)
        files = [path for path in building.rglob("*") if path.is_file()]
        hashes = {path.relative_to(building).as_posix(): _sha256(path) for path in files}
        (building / MANIFEST).write_text(json.dumps(hashes, indent=1, sort_keys=True))
        for path in (*building.rglob("*"), building):
            _sync(path)
        building.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _intact(folder: Path) -> bool:
    """Whether `folder` is a finished entry whose files are as they were written."""
    try:
        hashes = json.loads((folder / MANIFEST).read_text())
        return all(_sha256(folder / name) == digest for name, digest in hashes.items())
    except (OSError, ValueError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Bring a file or folder to the disk, so that a power cut after the rename finds it whole."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

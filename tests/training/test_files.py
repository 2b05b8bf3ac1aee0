"""Files and folders are complete on disk or not there."""

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from loopverse.errors import UserError
from loopverse.training.files import discard, new_folder, refusals_explained, sweep, write_text


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_write_that_fails_leaves_the_old_text_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with new_folder(path) as new:
        (new / "inside").write_text("x")
        assert not path.exists()
    assert (path / "inside").read_text() == "x"
    assert names(tmp_path) == ["folder"]


def test_a_folder_that_could_not_be_filled_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "folder") as new:
        (new / "inside" / "nowhere").write_text("x")
    assert names(tmp_path) == []


def test_a_new_folder_replaces_the_one_of_its_name(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with new_folder(tmp_path / "folder") as new:
            (new / text).touch()
    assert names(tmp_path / "folder") == ["second"]
    assert names(tmp_path) == ["folder"]


def test_discarding_renames_first_so_that_a_crash_leaves_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "inside").touch()

    def crash(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("loopverse.training.files.shutil.rmtree", crash)
        with pytest.raises(KeyboardInterrupt):
            discard(folder)
    assert not folder.exists()
    sweep(tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "is full"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "is full"),
        (SafetensorError("I/O error: Permission denied (os error 13)"), "permissions"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/a/run.json"), "permissions"),
    ],
)
def test_refusals_of_the_system_are_explained_in_one_line(error: Exception, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught, refusals_explained(Path("runs/a")):
        raise error
    assert "\n" not in str(caught.value)
    assert "runs/a" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        SafetensorError("invalid header"),
        PermissionError(errno.EACCES, "Permission denied", "elsewhere/corpus.txt"),
    ],
)
def test_other_errors_pass_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, refusals_explained(Path("runs/a")):
        raise error
    assert caught.value is error

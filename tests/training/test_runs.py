"""The run folder: what is refused, what is kept, what is best."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import toy
from torch import nn

from loopverse.errors import UserError
from loopverse.training import checkpoint
from loopverse.training.checkpoint import DamagedError, Progress
from loopverse.training.runs import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", toy.toy_config(tmp_path), {"loopverse": "0.1.0"})


def save(run: RunFolder, values: dict[int, float | None], keep: int = 2) -> None:
    for step, value in values.items():
        run.save(Progress(step, value=value), keep, nn.Linear(2, 2))


def steps(run: RunFolder) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in run.checkpoints()]


def test_a_run_folder_opens_with_its_configuration(run: RunFolder, tmp_path: Path) -> None:
    opened = RunFolder.open(run.path)
    assert opened == run
    assert opened.config == toy.toy_config(tmp_path)
    assert opened.facts == {"format": 1, "loopverse": "0.1.0"}


def test_the_newest_and_the_best_checkpoints_are_kept(run: RunFolder) -> None:
    save(run, {1: 3.0, 2: 1.0, 3: 2.0, 4: None, 5: 1.5}, keep=2)
    assert steps(run) == [2, 4, 5]
    assert run.best() == run.at(2) == run.at("best")
    assert run.at("last") == run.at(5) == run.latest()


def test_without_an_evaluation_the_best_is_the_last(run: RunFolder) -> None:
    save(run, {1: None, 2: None})
    assert run.best() is None
    assert run.at("best") == run.at(2)


def test_a_new_run_has_no_checkpoint_to_go_on_from_and_none_to_use(run: RunFolder) -> None:
    assert run.latest() is None
    with pytest.raises(UserError, match="holds no checkpoint yet"):
        run.at("last")


@pytest.mark.parametrize("which", [7, "7", "newest"])
def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(
    run: RunFolder, which: int | str
) -> None:
    save(run, {1: None, 2: None})
    with pytest.raises(UserError, match=r"expected best, last or one of the steps 1, 2"):
        run.at(which)


def test_a_damaged_checkpoint_names_the_good_one_and_how_to_use_it(run: RunFolder) -> None:
    save(run, {1: None, 2: None, 3: None}, keep=3)
    for step in (2, 3):
        path = run.at(step) / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
    with (
        pytest.raises(
            DamagedError,
            match=r"model.safetensors is not what was written.*step-00000001 is good: "
            r"remove step-00000002 and step-00000003 to use it",
        ),
        run.remedied(),
    ):
        checkpoint.verify(run.at("last"))


def test_when_no_checkpoint_is_good_it_says_so(run: RunFolder) -> None:
    save(run, {1: None})
    (run.at(1) / "state.json").write_text("")
    with pytest.raises(DamagedError, match="no checkpoint of this run is good"), run.remedied():
        run.best()


def test_a_missing_folder_and_a_folder_that_is_no_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run folder"):
        RunFolder.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is not a run folder"):
        RunFolder.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is not a run folder"):
        RunFolder.open(tmp_path / "file")


def test_a_half_written_folder_is_refused(run: RunFolder) -> None:
    (run.path / "run.json").unlink()
    with pytest.raises(UserError, match="half-written.*remove it and start again"):
        RunFolder.open(run.path)


def test_a_folder_of_another_version_is_refused_with_the_version_to_use(run: RunFolder) -> None:
    (run.path / "run.json").write_text(json.dumps({"format": 9, "loopverse": "7.0"}))
    with pytest.raises(UserError, match=r"has format 9.*use Loopverse 7\.0"):
        RunFolder.open(run.path)


@pytest.mark.parametrize("content", ['{"format": 1, "loop', "[]"])
def test_a_truncated_run_json_is_refused(run: RunFolder, content: str) -> None:
    (run.path / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        RunFolder.open(run.path)


def test_a_name_that_is_taken_is_refused(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a run already: continue it with"):
        RunFolder.create(run.path, toy.toy_config(tmp_path), {})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(UserError, match="exists and is not a run folder"):
        RunFolder.create(tmp_path / "other", toy.toy_config(tmp_path), {})


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        RunFolder.create(tmp_path / "file" / "run", toy.toy_config(tmp_path), {})
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with nobody(), pytest.raises(UserError, match="mend its permissions"):
        RunFolder.create(closed / "run", toy.toy_config(tmp_path), {})


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, who may write anywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_dead_writers_left_is_swept_on_resume(run: RunFolder) -> None:
    save(run, {1: None})
    (run.checkpoints_path / ".step-00000002.1.new.tmp").mkdir()
    (run.path / ".run.json.1.new.tmp").touch()
    run.rewind(1)
    assert steps(run) == [1]
    assert not list(run.path.rglob(".*.tmp"))


def test_a_run_is_trained_by_one_process_at_a_time(run: RunFolder) -> None:
    with run.held(), pytest.raises(UserError, match="trained by another process"), run.held():
        pass
    with run.held():
        pass

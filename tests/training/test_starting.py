"""Starting from another run: its weights and nothing else, read once."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy
from safetensors.torch import load_file
from torch import Tensor

from loopverse.training import Reporter, RunFolder, Stopped, train
from loopverse.training.config import TrainConfig, load_config


class At(Reporter):
    """Acts when the figures of a step are known."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self.step = step
        self.act = act

    def trained(self, row: dict[str, Any]) -> None:
        if row["step"] == self.step:
            self.act()


class KilledError(Exception):
    """Ends a process, as far as the test is concerned."""


def die() -> None:
    raise KilledError


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def source(tmp_path: Path) -> RunFolder:
    """A run of six steps, its checkpoints those of steps 2, 3, 4 and 6."""
    return train(toy.toy_config(tmp_path / "source", keep=9)).folder


def starting(tmp_path: Path, start_from: object, name: str = "new", **training: Any) -> TrainConfig:
    config = toy.toy_config(tmp_path / name, start_from=str(start_from), keep=9, **training)
    return replace(config, seed=7)


def tensors(run: RunFolder, which: str | int, file: str = "model") -> dict[str, Tensor]:
    return load_file(run.at(which) / f"{file}.safetensors")


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


@pytest.mark.parametrize(("written", "step"), [("", 6), ("@last", 6), ("@2", 2), ("@best", None)])
def test_a_run_begins_with_the_weights_of_the_other_and_a_fresh_optimiser(
    source: RunFolder, tmp_path: Path, written: str, step: int | None
) -> None:
    new = train(starting(tmp_path, f"{source.path}{written}")).folder
    which = step if step is not None else "best"
    assert same(tensors(new, 0), tensors(source, which))
    assert tensors(new, 0, "optimizer") == {}
    assert not same(tensors(new, "last"), tensors(source, which))
    chosen = int(source.at(which).name.removeprefix("step-"))
    assert new.config.training.start_from == f"{source.path}@{chosen}"


def test_the_moving_average_is_what_a_run_starts_from(tmp_path: Path) -> None:
    source = train(toy.toy_config(tmp_path / "source", ema=0.9)).folder
    average = tensors(source, "last", "ema")
    assert not same(average, tensors(source, "last"))
    new = train(starting(tmp_path, source.path, ema=0.5)).folder
    assert same(tensors(new, 0), average)
    assert same(tensors(new, 0, "ema"), average)  # not the average of fresh weights


def test_a_path_is_kept_absolute_whatever_it_looks_like(
    source: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = source.path.rename(source.path.with_name("a@b"))
    monkeypatch.chdir(tmp_path)
    for written in ("source/a@b", "source/../source/a@b@6"):
        new = train(starting(tmp_path, written, name=written.replace("/", "_"))).folder
        assert load_config(new.path).training.start_from == f"{odd}@6"


def without_the_other(source: RunFolder, new: RunFolder) -> None:
    shutil.rmtree(source.path)


def before_anything_was_saved(source: RunFolder, new: RunFolder) -> None:
    shutil.rmtree(new.at(0))


@pytest.mark.parametrize(
    ("end", "between"),
    [
        (At(3, terminate), without_the_other),
        (At(1, die), without_the_other),
        (At(1, die), before_anything_was_saved),
    ],
    ids=["stopped", "killed", "killed at once"],
)
def test_a_run_that_started_so_goes_on_to_the_same_bits(
    source: RunFolder,
    tmp_path: Path,
    end: Reporter,
    between: Callable[[RunFolder, RunFolder], None],
) -> None:
    whole = train(starting(tmp_path, source.path, "whole", ema=0.9)).folder
    with suppress(KilledError, Stopped):
        train(starting(tmp_path, source.path, ema=0.9), reporter=end)
    new = RunFolder.open(tmp_path / "new" / "run")
    between(source, new)
    train(run=new)
    for file in ("model", "optimizer", "ema"):
        assert same(tensors(new, "last", file), tensors(whole, "last", file)), file


def wider(config: TrainConfig) -> TrainConfig:
    return replace(config, core=replace(config.core, width=32))


def shallower(config: TrainConfig) -> TrainConfig:
    core = replace(config.core, num_prelude=0)
    return replace(config, core=core, choices=config.choices | {"core": "plain"})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            wider,
            r"cannot start from \S+run: adapter.bits.weight is float32 \[2, 32\] in the model and "
            r"float32 \[2, 16\] in the checkpoint; domain, core and size must be those of that run$",
        ),
        (
            shallower,
            r"core.prelude\S+ is in the checkpoint only; .* that run \(core: None there, plain here\)$",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line_and_nothing_is_made(
    source: RunFolder,
    tmp_path: Path,
    change: Callable[[TrainConfig], TrainConfig],
    complaint: str,
) -> None:
    with pytest.raises(ValueError, match=complaint) as refusal:
        train(change(starting(tmp_path, source.path)))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("{}x", r"^training.start_from, RUN or .*: there is no run folder \S+runx$"),
        ("{}@bets", r"there is no run folder \S+run@bets$"),
        ("{}@5", r"has no checkpoint '5': expected best, last or one of the steps 2, 3, 4, 6$"),
        ("{}/checkpoints", r"checkpoints is not a run folder: it has no run.json$"),
    ],
)
def test_a_run_or_checkpoint_that_is_not_there_is_refused(
    source: RunFolder, tmp_path: Path, written: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        train(starting(tmp_path, written.format(source.path)))
    assert not (tmp_path / "new").exists()


def test_a_damaged_checkpoint_is_refused_with_one_that_is_good(
    source: RunFolder, tmp_path: Path
) -> None:
    (source.at(6) / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"start_from.*damaged.*step-00000004 is good"):
        train(starting(tmp_path, source.path))

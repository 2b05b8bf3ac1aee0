"""The training loop: exact gradients, exact resumes, honest ends."""

import errno
import os
import pickle
import shutil
import signal
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from safetensors.torch import load_file

from loopverse import depth
from loopverse.errors import UserError
from loopverse.training import (
    NonFiniteError,
    Reporter,
    RunFolder,
    Stopped,
    checkpoint,
    load,
    loop,
    precision,
    train,
)
from loopverse.training.config import TrainConfig
from loopverse.training.optim import AdamW, Muon
from loopverse.training.rows import Row


class Heard(Reporter):
    """Keeps what it is told, and can act on a step."""

    def __init__(self, act: dict[int, Any] | None = None) -> None:
        self.rows: list[Row] = []
        self.saves: list[int] = []
        self.act = act or {}

    def trained(self, row: Row) -> None:
        self.rows.append(row)
        if row["step"] in self.act:
            self.act[row["step"]]()

    def saved(self, step: int) -> None:
        self.saves.append(step)


def weights(run: RunFolder, file: str = "model") -> dict[str, torch.Tensor]:
    return load_file(run.at("last") / f"{file}.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def choose(config: TrainConfig, **changes: Any) -> TrainConfig:
    return replace(config, **changes)


def test_training_learns_the_toy(tmp_path: Path) -> None:
    config = toy.toy_config(tmp_path, steps=60, evaluate_every=5, checkpoint_every=60)
    run = train(config)
    first, *_, last = run.folder.rows.read("valid")
    assert run.progress.step == 60
    assert last["nats_per_bit"] < min(0.2, first["nats_per_bit"] / 2)


def test_the_same_configuration_gives_the_same_bits(tmp_path: Path) -> None:
    runs = [train(toy.toy_config(tmp_path / name)).folder for name in ("a", "b")]
    assert same(weights(runs[0]), weights(runs[1]))
    assert same(weights(runs[0], "optimizer"), weights(runs[1], "optimizer"))


def test_another_seed_gives_another_model(tmp_path: Path) -> None:
    one = train(toy.toy_config(tmp_path / "a")).folder
    other = train(choose(toy.toy_config(tmp_path / "b"), seed=1)).folder
    assert not same(weights(one), weights(other))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": Muon(lr=1e-2)},
        {"schedule": depth.Poisson(mean=2)},
        {"schedule": depth.Poisson(mean=2, per_sequence=True), "gradient": depth.Truncated(1)},
        {"domain": toy.ToyConfig(flip=0.2, dropout=0.2, tied=True)},
        {"halting": depth.ExitGate(), "objective": depth.Expected()},
    ],
    ids=["plain", "muon", "poisson", "per-sequence", "random-domain", "exit-gate"],
)
@pytest.mark.parametrize("settings", [{}, {"ema": 0.9, "accumulate": 2, "precision": "bf16"}])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, changes: dict[str, Any], settings: dict[str, Any]
) -> None:
    whole = choose(toy.toy_config(tmp_path / "whole", **settings), **changes)
    stopped = choose(toy.toy_config(tmp_path / "stopped", **settings), **changes)
    expected = train(whole).folder
    ends = Heard({3: lambda: os.kill(os.getpid(), signal.SIGTERM)})
    with pytest.raises(Stopped) as stop:
        train(stopped, reporter=ends)
    assert stop.value.step < stop.value.steps
    again = train(run=stop.value.folder)
    for file in ("model", "optimizer", *(["ema"] if "ema" in settings else [])):
        assert same(weights(again.folder, file), weights(expected, file)), file
    rows = [
        [{key: row[key] for key in row if "second" not in key} for row in folder.rows.read()]
        for folder in (expected, again.folder)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_is_reported(tmp_path: Path, number: int) -> None:
    before = signal.getsignal(number)
    heard = Heard({2: lambda: os.kill(os.getpid(), number)})
    with pytest.raises(KeyboardInterrupt) as raised:
        train(toy.toy_config(tmp_path, steps=1000, checkpoint_every=1000), reporter=heard)
    stop, run = raised.value, RunFolder.open(tmp_path / "run")
    assert isinstance(stop, Stopped)
    assert stop.status == 128 + number
    assert str(stop) == f"stopped and saved at step 3 of 1000: {run.path}"  # told of 2 in step 3
    assert heard.saves == [3]
    assert run.at("last").name == "step-00000003"
    assert signal.getsignal(number) is before
    assert vars(pickle.loads(pickle.dumps(stop))) == vars(stop)


@pytest.mark.parametrize("before", [1, 0])
def test_a_signal_in_the_last_step_leaves_a_run_that_is_whole(tmp_path: Path, before: int) -> None:
    config = toy.toy_config(tmp_path)
    last = config.training.steps - before
    heard = Heard({last: lambda: os.kill(os.getpid(), signal.SIGINT)})
    with pytest.raises(Stopped) as stop:
        train(config, reporter=heard)
    assert stop.value.step == config.training.steps
    assert RunFolder.open(stop.value.folder).summary is not None


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    folder = train(toy.toy_config(tmp_path)).folder
    before = (folder.path / "metrics.jsonl").read_text()
    assert train(run=folder).progress.step == folder.config.training.steps
    assert (folder.path / "metrics.jsonl").read_text() == before


def test_a_run_that_was_killed_before_its_summary_gets_it_on_resume(tmp_path: Path) -> None:
    folder = train(toy.toy_config(tmp_path)).folder
    summary, rows = folder.summary, folder.rows.read()
    (folder.path / "summary.json").unlink()
    assert folder.summary is None
    train(run=folder)
    assert folder.summary == summary
    assert folder.rows.read() == rows


def test_a_run_that_was_stopped_has_no_summary(tmp_path: Path) -> None:
    heard = Heard({4: lambda: os.kill(os.getpid(), signal.SIGTERM)})  # evaluated at 3
    with pytest.raises(Stopped):
        train(toy.toy_config(tmp_path), reporter=heard)
    folder = RunFolder.open(tmp_path / "run")
    assert folder.rows.read("valid")
    assert folder.summary is None


def test_a_run_is_started_or_gone_on_with_and_not_both(tmp_path: Path) -> None:
    config = toy.toy_config(tmp_path)
    folder = train(config).folder
    for arguments in ({}, {"config": config, "run": folder}):
        with pytest.raises(ValueError, match="to start a run, or a run to go on with"):
            train(**arguments)


def test_accumulated_micro_batches_are_one_big_batch(tmp_path: Path) -> None:
    """Micro-batches hold different numbers of units here, so a mean of means would fail."""
    schedule = depth.Uniform(1, 3, per_sequence=True)
    big = choose(toy.toy_config(tmp_path / "big", batch_size=6), schedule=schedule)
    small = choose(
        toy.toy_config(tmp_path / "small", batch_size=2, accumulate=3), schedule=schedule
    )
    one, other = train(big).folder, train(small).folder
    for key in ("loss", "grad_norm", "units", "depth"):
        values = [[row[key] for row in run.rows.read("train")] for run in (one, other)]
        assert values[0] == pytest.approx(values[1], rel=1e-4), key
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, weights(other)[name], rtol=1e-3, atol=1e-5)


def test_gradients_are_clipped_to_the_norm_that_was_asked_for(tmp_path: Path) -> None:
    config = toy.toy_config(tmp_path, clip=1e-3, steps=1)
    config = choose(config, optimizer=AdamW(betas=(0.0, 0.0), lr=0.0))
    run = train(config)
    moments = weights(run.folder, "optimizer")
    squares = [tensor.sum() for name, tensor in moments.items() if name.endswith("exp_avg_sq")]
    assert float(sum(squares)) ** 0.5 == pytest.approx(1e-3, rel=1e-2)
    assert run.folder.rows.read("train")[0]["grad_norm"] > 1e-2


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "gradient",
    [depth.Full(), depth.Truncated(1), depth.Checkpointed(), depth.Phantom(2), depth.Implicit()],
    ids=lambda gradient: type(gradient).__name__,
)
def test_every_parameter_gets_a_gradient(
    tmp_path: Path, gradient: depth.LoopGradient, precision: str, tied: bool
) -> None:
    if not tied and not isinstance(gradient, depth.Full | depth.Checkpointed):
        return  # they leave the layers of unrecorded loops out, which an untied core has
    config = choose(toy.toy_config(tmp_path, steps=2, precision=precision), gradient=gradient)
    config.core.tied = tied
    moments = weights(train(config).folder, "optimizer")
    squares = {name: float(t.sum()) for name, t in moments.items() if name.endswith("exp_avg_sq")}
    assert len(squares) > 10
    assert [name for name, total in squares.items() if total == 0] == []


def test_a_loss_that_is_not_finite_names_step_batch_and_last_good_checkpoint(
    tmp_path: Path,
) -> None:
    config = toy.toy_config(tmp_path)
    config.domain = toy.ToyConfig(poison=3)
    with pytest.raises(
        NonFiniteError,
        match=r"loss is nan at step 4 \(batches \[12, 13, 14, 15\]\).*"
        r"last good checkpoint is .*step-00000003",
    ) as caught:
        train(config)
    assert "\n" not in str(caught.value)
    run = RunFolder.open(tmp_path / "run")
    assert run.latest() == run.at(3)
    assert [row["step"] for row in run.rows.read("train")] == [1, 2, 3]
    assert all(tensor.isfinite().all() for tensor in weights(run).values())


@pytest.mark.parametrize("use", [lambda path: train(run=path), lambda path: load(path, "last")])
def test_a_damaged_checkpoint_is_refused_until_it_is_removed(tmp_path: Path, use: Any) -> None:
    path = train(toy.toy_config(tmp_path)).folder.path
    damaged = path / "checkpoints" / "step-00000006"
    (damaged / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"step-00000004 is good: remove step-00000006 to use it"):
        use(path)
    shutil.rmtree(damaged)
    use(path)


def test_a_full_disk_while_saving_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = checkpoint.save_file

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        if "step-00000004" in str(path):
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(UserError, match="is full.*go on with `loopverse train run="):
            train(toy.toy_config(tmp_path))
    run = RunFolder.open(tmp_path / "run")
    left = sorted(path.name for path in run.checkpoints_path.iterdir())
    assert left == ["step-00000002", "step-00000003"]
    expected = train(toy.toy_config(tmp_path / "whole")).folder
    assert same(weights(train(run=run).folder), weights(expected))


def test_a_loaded_run_is_the_best_checkpoint_in_evaluation_mode(tmp_path: Path) -> None:
    run = train(toy.toy_config(tmp_path))
    loaded = load(run.folder.path)
    assert not loaded.model.training
    assert run.folder.best() == run.folder.at(loaded.step)
    assert load(run.folder, "last").step == 6
    assert load(run.folder, 6).config == run.folder.config


def test_a_loaded_run_computes_with_the_moving_average(tmp_path: Path) -> None:
    run = train(toy.toy_config(tmp_path, ema=0.9))
    state = load(run.folder, "last").model.state_dict()
    average = weights(run.folder, "ema")
    assert all(torch.equal(state[name], average[name]) for name in average)
    assert not same(weights(run.folder), average)


def test_precision_is_settled_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.create(
        tmp_path / "run",
        toy.toy_config(tmp_path, precision="auto", steps=1),
        {"precision": "bf16"},
    )
    seen = []
    autocast = precision.autocast
    monkeypatch.setattr(
        loop, "autocast", lambda kind, device: (seen.append(kind), autocast(kind, device))[1]
    )
    train(run=folder)
    assert seen == ["bf16"]


def test_a_tracker_that_is_unknown_or_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        train(toy.toy_config(tmp_path, trackers=["tensorbord"]))
    with pytest.raises(UserError, match="is not installed"):
        train(toy.toy_config(tmp_path, trackers=["swanlab"]))
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_figures(tmp_path: Path) -> None:
    folder = train(toy.toy_config(tmp_path, trackers=["tensorboard"])).folder
    assert list((folder.path / "tensorboard").glob("events.*"))


def test_a_domain_whose_batches_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = toy.Toy.batches
    monkeypatch.setattr(toy.Toy, "batches", lambda *args, **kw: islice(batches(*args, **kw), 2))
    with pytest.raises(
        UserError, match=r'Toy\.batches\("train"\) must never end, and ended after 2'
    ):
        train(toy.toy_config(tmp_path))


def test_nothing_is_written_when_the_settings_cannot_work(tmp_path: Path) -> None:
    config = toy.toy_config(tmp_path)
    config.core.num_heads = 3
    with pytest.raises(ValueError, match="num_heads"):
        train(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`", "ignore:The .grad attribute")
def test_a_compiled_run_trains(tmp_path: Path) -> None:
    """The warnings are raised within torch.compile."""
    run = train(choose(toy.toy_config(tmp_path, compile=True), schedule=depth.Uniform(1, 3)))
    assert run.folder.summary is not None

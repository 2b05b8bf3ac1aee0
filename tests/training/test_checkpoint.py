"""One checkpoint: what goes in comes out, bit by bit, or is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from loopverse.training import checkpoint
from loopverse.training.checkpoint import CheckpointError, DamagedError, Progress
from loopverse.training.ema import Average
from loopverse.training.optim import AdamW, Muon, Optimizer


class Small(nn.Module):
    """Everything a checkpoint must cope with: shared weights, odd types, a parameter never used."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.core = nn.Sequential(nn.Linear(width, 5), nn.Linear(5, 4))
        self.adapter = nn.Module()
        self.adapter.embedding = nn.Embedding(4, width)
        self.adapter.head = nn.Linear(width, 4, bias=False)
        self.adapter.head.weight = self.adapter.embedding.weight
        self.unused = nn.Parameter(torch.zeros(3))
        self.register_buffer("counts", torch.arange(3))
        self.register_buffer("short", torch.rand(2).bfloat16())
        self.register_buffer("window", torch.rand(10)[2:5])
        self.register_buffer("empty", torch.zeros(0))

    def forward(self) -> torch.Tensor:
        embedded = self.adapter.embedding(torch.arange(4))
        return (self.core(embedded) + self.adapter.head(embedded)).square().sum()


def trained(
    strategy: Optimizer, seed: int = 0
) -> tuple[Small, list[torch.optim.Optimizer], Average]:
    torch.manual_seed(seed)
    model = Small()
    optimizers = strategy.build(model)
    average = Average(model, 0.9)
    for step in range(3):
        advance(model, optimizers, average, step)
    return model, optimizers, average


def advance(
    model: Small, optimizers: list[torch.optim.Optimizer], average: Average, step: int
) -> None:
    model().backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    average.update(step)


def at(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


@pytest.mark.parametrize("strategy", [AdamW(), Muon()], ids=["adamw", "muon"])
def test_training_goes_on_to_the_same_bits_after_a_checkpoint(
    tmp_path: Path, strategy: Optimizer
) -> None:
    one = trained(strategy)
    checkpoint.save(at(tmp_path, 3), Progress(3), *one)
    other = trained(strategy, seed=1)
    assert checkpoint.load(at(tmp_path, 3), *other) == Progress(3)
    for step in range(3, 6):
        advance(*one, step)
        advance(*other, step)
    for name, tensor in one[0].state_dict().items():
        assert torch.equal(tensor, other[0].state_dict()[name]), name
    for name, tensor in one[2].weights.items():
        assert torch.equal(tensor, other[2].weights[name]), name
    first, second = (checkpoint.optimizer_tensors(model, opt) for model, opt, _ in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(first[name].dtype == second[name].dtype for name in first)


def test_shared_weights_are_stored_once_and_stay_shared(tmp_path: Path) -> None:
    model, *rest = trained(AdamW())
    checkpoint.save(at(tmp_path, 3), Progress(3), model, *rest)
    stored = load_file(at(tmp_path, 3) / "model.safetensors")
    assert "adapter.embedding.weight" in stored
    assert "adapter.head.weight" not in stored
    other = Small()
    checkpoint.load(at(tmp_path, 3), other)
    assert other.adapter.head.weight is other.adapter.embedding.weight
    assert torch.equal(other.adapter.head.weight, model.adapter.head.weight)


def test_equal_checkpoints_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        checkpoint.save(at(tmp_path / name, 3), Progress(3), *trained(Muon()))
    for file in at(tmp_path / "a", 3).iterdir():
        assert file.read_bytes() == (at(tmp_path / "b", 3) / file.name).read_bytes(), file.name


def test_there_is_no_pickle_in_a_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(at(tmp_path, 3), Progress(3), *trained(Muon()))
    suffixes = {file.suffix for file in at(tmp_path, 3).iterdir()}
    assert suffixes == {".safetensors", ".json"}


def test_progress_comes_back_exactly(tmp_path: Path) -> None:
    progress = Progress(step=3, units=12345678901, seconds=1 / 3, value=0.1 + 0.2)
    checkpoint.save(at(tmp_path, 3), progress, Small())
    assert checkpoint.read_progress(at(tmp_path, 3)) == progress


def damage_flip(folder: Path) -> str:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return "model.safetensors is not what was written"


def damage_truncate(folder: Path) -> str:
    path = folder / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    return "optimizer.safetensors is not what was written"


def damage_remove(folder: Path) -> str:
    (folder / "ema.safetensors").unlink()
    return "ema.safetensors is missing"


def damage_state(folder: Path) -> str:
    path = folder / "state.json"
    path.write_text(path.read_text()[:40])
    return "state.json is unreadable"


def damage_no_state(folder: Path) -> str:
    (folder / "state.json").unlink()
    return "state.json is missing"


def damage_step(folder: Path) -> str:
    path = folder / "state.json"
    path.write_text(path.read_text().replace('"step": 3', '"step": 2'))
    return "its name and the step in state.json"


DAMAGES = [
    *(damage_flip, damage_truncate, damage_remove),
    *(damage_state, damage_no_state, damage_step),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_by_file_and_loads_nothing(tmp_path: Path, damage) -> None:
    checkpoint.save(at(tmp_path, 3), Progress(3), *trained(AdamW()))
    complaint = damage(at(tmp_path, 3))
    other = trained(AdamW(), seed=1)
    before = {name: tensor.clone() for name, tensor in other[0].state_dict().items()}
    with pytest.raises(DamagedError, match=complaint) as caught:
        checkpoint.load(at(tmp_path, 3), *other)
    assert str(at(tmp_path, 3)) in str(caught.value)
    assert all(torch.equal(t, before[name]) for name, t in other[0].state_dict().items())


def test_another_model_is_refused_by_the_first_difference(tmp_path: Path) -> None:
    checkpoint.save(at(tmp_path, 3), Progress(3), Small())
    with pytest.raises(
        CheckpointError, match=r"float32 \[5, 8\] in the model and float32 \[5, 6\]"
    ):
        checkpoint.load(at(tmp_path, 3), Small(width=8))
    with pytest.raises(CheckpointError, match="is in the checkpoint only"):
        checkpoint.load(at(tmp_path, 3), nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match="bfloat16"):
        checkpoint.load(at(tmp_path, 3), Small().bfloat16())


def test_an_average_that_was_never_kept_is_refused(tmp_path: Path) -> None:
    model, optimizers, average = trained(AdamW())
    checkpoint.save(at(tmp_path, 3), Progress(3), model, optimizers)
    with pytest.raises(CheckpointError, match=r"training\.ema must stay"):
        checkpoint.load(at(tmp_path, 3), model, optimizers, average)


def test_state_of_another_optimiser_is_refused(tmp_path: Path) -> None:
    checkpoint.save(at(tmp_path, 3), Progress(3), *trained(AdamW()))
    model = Small()
    model.unused.requires_grad_(False)
    model.core.requires_grad_(False)
    with pytest.raises(CheckpointError, match="optimizer must stay"):
        checkpoint.load(at(tmp_path, 3), model, AdamW().build(model))


def test_optimiser_state_that_is_no_tensor_is_refused() -> None:
    model, optimizers, _ = trained(AdamW())
    optimizers[0].state[model.core[0].weight]["note"] = "text"
    with pytest.raises(CheckpointError, match="make it a tensor"):
        checkpoint.optimizer_tensors(model, optimizers)


def test_state_json_lists_every_file_with_its_sum(tmp_path: Path) -> None:
    checkpoint.save(at(tmp_path, 3), Progress(3), *trained(AdamW()))
    state = json.loads((at(tmp_path, 3) / "state.json").read_text())
    assert set(state["sha256"]) == {
        *("model.safetensors", "optimizer.safetensors", "ema.safetensors")
    }

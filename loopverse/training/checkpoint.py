"""One checkpoint: a folder of safetensors and JSON from which training goes on to the same bits.

    step-00000400/model.safetensors      weights and buffers
                  optimizer.safetensors  "parameter/key" for every optimiser together
                  ema.safetensors        moving average of the weights, where there is one
                  state.json             progress, shared weights, sha256 of the files

Learning rates, schedules and generators are functions of the step and so are not here.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from loopverse.errors import UserError
from loopverse.training.ema import Average
from loopverse.training.files import new_folder

PREFIX = "step-"


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: optimiser steps done.
        units: units (tokens, transitions) trained on, padding included, over all processes.
        seconds: time spent, evaluation and checkpoints included.
        value: the headline metric on held-out data at this step, where it was measured.
    """

    step: int = 0
    units: int = 0
    seconds: float = 0.0
    value: float | None = None


class CheckpointError(UserError):
    """A checkpoint that cannot be used: of another model, or damaged."""


class DamagedError(CheckpointError):
    """A checkpoint that is not what was written."""

    def __init__(self, folder: Path, how: str) -> None:
        super().__init__(f"checkpoint {folder} is damaged: {how}")


class ForeignError(CheckpointError):
    """A checkpoint of a model that has other weights.

    Attributes:
        problem: the first weight that differs, and how.
    """

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(
            f"checkpoint {folder} belongs to another model: {problem}; "
            "domain, core and size must stay as they were when the run started"
        )
        self.problem = problem


def save(
    folder: Path,
    progress: Progress,
    model: nn.Module,
    optimizers: Sequence[Optimizer] = (),
    average: Average | None = None,
) -> None:
    """Write a checkpoint that is either whole under the name `folder` or not there."""
    weights, shared = _once(model.state_dict())
    files = {"model": weights, "optimizer": optimizer_tensors(model, optimizers)}
    if average is not None:
        files["ema"] = average.weights
    with new_folder(folder) as new:
        for name, tensors in files.items():
            path = new / f"{name}.safetensors"
            save_file({key: _alone(tensor) for key, tensor in tensors.items()}, path)
        digests = {path.name: _digest(path) for path in sorted(new.iterdir())}
        state = {"progress": asdict(progress), "shared": shared, "sha256": digests}
        (new / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")


def verify(folder: Path) -> dict[str, Any]:
    """The content of `state.json`, once every file is what was written.

    Raises:
        DamagedError: names the file that is missing, truncated or altered.
    """
    state = _read_state(folder)
    for name, expected in state["sha256"].items():
        path = folder / name
        if not path.is_file():
            raise DamagedError(folder, f"{name} is missing")
        if _digest(path) != expected:
            raise DamagedError(
                folder, f"{name} is not what was written (its sha256 is not that in state.json)"
            )
    return state


def read_progress(folder: Path) -> Progress:
    """How far the run had come at this checkpoint; reads `state.json` only."""
    return Progress(**_read_state(folder)["progress"])


def load(
    folder: Path,
    model: nn.Module,
    optimizers: Sequence[Optimizer] = (),
    average: Average | None = None,
) -> Progress:
    """Put a verified checkpoint into objects that were built from the same configuration.

    Raises:
        DamagedError: a file is not what was written.
        CheckpointError: names, shapes or types of another model.
    """
    state = verify(folder)
    _fill(model.state_dict(), load_file(folder / "model.safetensors"), state["shared"], folder)
    if optimizers:
        _load_optimizers(model, optimizers, load_file(folder / "optimizer.safetensors"))
    if average is not None:
        if not has_average(folder):
            raise CheckpointError(
                f"checkpoint {folder} holds no moving average: "
                "training.ema must stay as it was when the run started"
            )
        _fill(average.weights, load_file(folder / "ema.safetensors"), {}, folder)
    return Progress(**state["progress"])


def has_average(folder: Path) -> bool:
    """Whether the checkpoint holds a moving average of the weights."""
    return (folder / "ema.safetensors").is_file()


def optimizer_tensors(model: nn.Module, optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """The state of all optimisers as one flat table, `parameter/key` to tensor.

    Raises:
        CheckpointError: an optimiser keeps something that is not a tensor.
    """
    names = _names(model)
    tensors: dict[str, Tensor] = {}
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for key, value in state.items():
                if not isinstance(value, Tensor):
                    raise CheckpointError(
                        f"{type(optimizer).__name__} keeps {key} of {names[parameter]} as "
                        f"{type(value).__name__}; checkpoints hold tensors: make it a tensor"
                    )
                tensors[f"{names[parameter]}/{key}"] = value
    return tensors


def _names(model: nn.Module) -> dict[Tensor, str]:
    return {parameter: name for name, parameter in model.named_parameters()}


def _load_optimizers(
    model: nn.Module, optimizers: Sequence[Optimizer], tensors: dict[str, Tensor]
) -> None:
    by_parameter: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, key = name.rsplit("/", 1)
        by_parameter.setdefault(parameter, {})[key] = tensor
    names = _names(model)
    for optimizer in optimizers:
        owned = [names[p] for group in optimizer.param_groups for p in group["params"]]
        state = {i: by_parameter.pop(n) for i, n in enumerate(owned) if n in by_parameter}
        optimizer.load_state_dict(
            {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
        )
    if by_parameter:
        raise CheckpointError(
            f"the checkpoint holds optimiser state for {next(iter(by_parameter))}, which this "
            "optimiser does not train: the optimizer must stay as it was when the run started"
        )


@torch.no_grad()
def _fill(
    targets: dict[str, Tensor], stored: dict[str, Tensor], shared: dict[str, str], folder: Path
) -> None:
    """Copy stored tensors into `targets`, in place, refusing any other name, shape or type."""
    stored = stored | {name: stored[first] for name, first in shared.items()}
    problem = None
    if odd := sorted(targets.keys() ^ stored.keys()):
        problem = f"{odd[0]} is in {'the model' if odd[0] in targets else 'the checkpoint'} only"
    for name, target in targets.items() if problem is None else ():
        is_, was = _kind(target), _kind(stored[name])
        if is_ != was:
            problem = f"{name} is {is_} in the model and {was} in the checkpoint"
            break
    if problem:
        raise ForeignError(folder, problem)
    for name, target in targets.items():
        target.copy_(stored[name])


def _once(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors without repetition, and `{name: first name}` for those that share all elements.

    The first name in the order of `tensors` is the one that is stored.
    """
    first: dict[tuple[Any, ...], str] = {}
    shared: dict[str, str] = {}
    for name, tensor in tensors.items():
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and first.setdefault(place, name) != name:
            shared[name] = first[place]
    return {name: tensor for name, tensor in tensors.items() if name not in shared}, shared


def _alone(tensor: Tensor) -> Tensor:
    """The tensor as the only, contiguous user of its memory, which safetensors asks for."""
    tensor = tensor.detach().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_state(folder: Path) -> dict[str, Any]:
    path = folder / "state.json"
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        step = state["progress"]["step"]
    except FileNotFoundError:
        raise DamagedError(folder, "state.json is missing") from None
    except (ValueError, KeyError, TypeError):
        raise DamagedError(folder, "state.json is unreadable") from None
    if folder.name != f"{PREFIX}{step:08d}":
        raise DamagedError(folder, f"its name and the step in state.json ({step}) differ")
    return state

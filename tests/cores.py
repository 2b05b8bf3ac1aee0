"""Small cores with the settings of `configs/core/`, whose every parameter matters."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from omegaconf import OmegaConf
from torch import nn

from loopverse.nn import CoreConfig, RecurrentCore, RetentionResidual
from loopverse.training.config import GROUPS

ModuleT = TypeVar("ModuleT", bound=nn.Module)

FOLDER = Path(__file__).resolve().parents[1] / "configs" / "core"
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
BOUNDED = "loopwm_bounded"
"""LoopWM with a loop that is certified to contract: layers of another kind."""
CORES = [*PRESETS, BOUNDED]


def preset(name: str, **changes: Any) -> CoreConfig:
    """The settings of a published core, or of `BOUNDED`, but narrow and with few layers."""
    if name == BOUNDED:
        certified = RetentionResidual(bound="full", tokens=16)
        return preset("loopwm", **{"injection": certified, **changes})
    content = _content(name)
    settings = {"width": 16, "num_heads": 4, "num_kv_heads": 2, **content["core"]}
    for count in ("num_prelude", "num_loop", "num_coda"):
        settings[count] = min(settings[count], 2)
    for default in content["defaults"]:
        group, option = next(iter(default.items())) if isinstance(default, dict) else ("", "")
        if "core/" in group:
            group = group.removeprefix("override /")
            settings[group.removeprefix("core/")] = GROUPS[group][option]()
    return CoreConfig(**{**settings, **changes})


def _content(name: str) -> Any:
    """A file of the group, over the one that it starts from, if it does."""
    content: Any = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    for base in [item for item in content["defaults"] if isinstance(item, str)]:
        if base != "_self_":
            older = _content(base)
            content["core"] = {**older["core"], **content["core"]}
            content["defaults"] = [*older["defaults"], *content["defaults"]]
    return content


def small_core(name: str, *, seed: int = 0, **changes: Any) -> RecurrentCore:
    """A preset with stirred weights."""
    torch.manual_seed(seed)
    return stir(RecurrentCore(preset(name, **changes)))


def stir(module: ModuleT, strength: float = 0.1) -> ModuleT:
    """Move every parameter off its initial value, so that none is one or zero by chance."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=strength)
    return module

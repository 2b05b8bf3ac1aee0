"""From overrides to a configuration: Hydra reads the groups and files, plain objects come out."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from loopverse.errors import UserError
from loopverse.nn import CoreConfig
from loopverse.training.config import TrainConfig
from loopverse.training.explain import explained
from loopverse.training.names import check_overrides, unknown_setting
from loopverse.training.sources import composed


def compose(overrides: Sequence[str] = ()) -> TrainConfig:
    """The configuration of `configs/train.yaml` with overrides applied, as on the command line.

    Args:
        overrides: such as `["core=huginn", "training.steps=10"]`.

    Raises:
        ValueError: an unknown or impossible setting, in one sentence with the remedy.
    """
    overrides = [str(override) for override in overrides]
    with explained(overrides):
        check_overrides(overrides)
        values = composed(overrides)
        choices = values.hydra.runtime.choices
        with open_dict(values):
            del values["hydra"]
        return build(values, choices, overrides)


def build(
    values: DictConfig, choices: Mapping[Any, Any], overrides: Sequence[str] = ()
) -> TrainConfig:
    """The plain objects of what Hydra composed.

    Args:
        values: without the node `hydra`.
        choices: `hydra.runtime.choices`: the option picked from every group.
        overrides: what was asked for, to explain errors with.

    Raises:
        ValueError: a setting that the schema does not have, has no value, or refuses.
    """
    _check_shape(values, "", overrides)
    if missing := sorted(OmegaConf.missing_keys(values)):
        raise UserError(f"{missing[0]} has no value: write {missing[0]}=VALUE")
    core = OmegaConf.to_object(values.core)
    assert isinstance(core, CoreConfig)
    core.check()  # first, because other settings follow from the core's
    config = OmegaConf.to_object(values)
    assert isinstance(config, TrainConfig)
    picked = {str(group): str(name) for group, name in choices.items() if name is not None}
    ours = {group: name for group, name in picked.items() if not group.startswith("hydra/")}
    config.choices = {**ours, **config.choices}
    return config


def _check_shape(node: DictConfig, path: str, overrides: Sequence[str]) -> None:
    """Refuse what OmegaConf lets through: added fields (`+key=1`), and pairs that are no pairs."""
    kind = OmegaConf.get_type(node)
    if not is_dataclass(kind):
        return
    hints = typing.get_type_hints(kind)
    for name in node:
        full = f"{path}{name}"
        if name not in hints:
            raise unknown_setting(full, overrides)
        if OmegaConf.is_missing(node, name):
            continue
        value, sizes = node[name], typing.get_args(hints[name])
        fixed = typing.get_origin(hints[name]) is tuple and ... not in sizes
        if isinstance(value, DictConfig):
            _check_shape(value, f"{full}.", overrides)
        elif fixed and len(value) != len(sizes):
            raise UserError(f"{full} must be a list of {len(sizes)}, got {list(value)}")

"""From overrides to a configuration: Hydra reads the groups and files, plain objects come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
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
    for name in _added(values, ""):
        raise unknown_setting(name, overrides)
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


def _added(node: Any, path: str) -> list[str]:
    """Settings that `+key=value` or a stranger's file added to a dataclass that has no such field."""
    if not isinstance(node, DictConfig) or node._is_missing() or node._is_none():
        return []
    kind = OmegaConf.get_type(node)
    declared = {field.name for field in fields(kind)} if is_dataclass(kind) else set(node)
    found = []
    for name in node:
        full = f"{path}{name}"
        found += [full] if name not in declared else _added(node._get_node(name), f"{full}.")
    return found

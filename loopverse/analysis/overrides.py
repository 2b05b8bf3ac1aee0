"""What a run changed: the shortest `loopverse train` line that computes it again."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import OmegaConf

from loopverse.training.compose import compose
from loopverse.training.config import GROUPS, TrainConfig

PLACES = ("name", "runs")
"""Settings that say where a run lies, not what it computes."""
_PLAIN = re.compile(r"(?!(null|true|false|nan|inf)$)[a-z_./][\w./:-]*", re.IGNORECASE)
"""Text that Hydra takes for text without quotes."""


def overrides(config: TrainConfig) -> list[str]:
    """The overrides that lead from the defaults to `config`, without those that follow from others.

    A core picks its strategies and a schedule takes its loops from the core, so what others follow
    from comes first.

    Raises:
        ValueError: a configuration that no command line leads to, such as one of a domain that is
            not installed.
    """
    wanted = _settings(config)
    found: list[str] = []
    for stage in (_is_file, _is_strategy, _is_of_core, lambda _: True):
        reached = _settings(compose(found))
        if reached == wanted:
            break
        found += [
            f"{name}={written(value)}"
            for name, value in wanted.items()
            if stage(name) and reached.get(name) != value
        ]
    return found


def as_yaml(config: TrainConfig) -> str:
    """Every setting, as `config.yaml` holds it."""
    values = _values(config)
    return OmegaConf.to_yaml(OmegaConf.create(values))


def _values(config: TrainConfig) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(OmegaConf.structured(config))
    del values["choices"]
    return values


def _settings(config: TrainConfig) -> dict[str, Any]:
    """Options by group and values by dotted name, as they are written on the command line."""
    found: dict[str, Any] = dict(config.choices)

    def visit(node: dict[str, Any], prefix: str) -> None:
        for name, value in node.items():
            if isinstance(value, dict):
                visit(value, f"{prefix}{name}.")
            elif name not in PLACES:
                found[prefix + name] = value

    visit(_values(config), "")
    return found


def _is_file(name: str) -> bool:
    """Whether it is a group of files in `configs/`, whose options pick others."""
    return name in ("core", "size", "domain")


def _is_strategy(name: str) -> bool:
    return name in GROUPS


def _is_of_core(name: str) -> bool:
    return name.startswith("core.")


def written(value: Any) -> str:
    """A value as the right side of an override."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        # Hydra reads a backslash as itself, but before a quote and at the end.
        escaped = re.sub(
            r'(\\*)("|$)', lambda found: found[1] * 2 + found[2].replace('"', '\\"'), value
        )
        return f'"{escaped}"'
    return str(value)

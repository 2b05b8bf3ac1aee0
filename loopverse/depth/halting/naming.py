"""Rules written down: a name, or a mapping with settings, and back; or as they are typed."""

import importlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from loopverse.depth.halting.base import Halting
from loopverse.errors import UserError, unknown

Named = Any
"""A rule within a rule: the rule itself, its name, or `{halting: NAME, ...settings}`.

A rule that has no name here is `{_target_: MODULE.CLASS, ...settings}`. What is kept is always the plain
mapping, which a settings file can hold.
"""


def plain(rule: Halting) -> dict[str, Any]:
    """A rule as a mapping that a settings file can hold, with all of its settings."""
    kind = type(rule)
    for name, option in _rules().items():
        if option is kind:
            return {"halting": name, **asdict(rule)}
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **asdict(rule)}


def built(rule: Named) -> Halting:
    """The rule that a name or a mapping stands for.

    Raises:
        ValueError: no such rule, or settings that it does not have.
    """
    if isinstance(rule, Halting):
        return rule
    settings = {"halting": rule} if isinstance(rule, str) else rule
    if not isinstance(settings, Mapping) or not settings.keys() & {"halting", "_target_"}:
        raise UserError(
            f"a rule within a rule must be a name or {{halting: NAME, ...settings}}, got {rule}"
        )
    settings = {str(name): value for name, value in settings.items()}
    name = str(settings.pop("halting", ""))
    kind = _rules().get(name) or _imported(settings.pop("_target_", ""))
    if kind is None:
        raise unknown(
            "halting", name, _rules(), "a class of your own is written _target_: MODULE.CLASS"
        )
    for setting in settings:
        if setting not in (known := [item.name for item in fields(kind)]):
            raise unknown(f"setting of halting={name or kind.__name__}", setting, known)
    try:
        typed = OmegaConf.merge(OmegaConf.structured(kind), settings)
        return cast(Halting, OmegaConf.to_object(typed))
    except OmegaConfBaseException as error:
        raise UserError(f"halting={name or kind.__name__}: {str(error).splitlines()[0]}") from error


def name_of(rule: Halting) -> str:
    """A rule's name in `halting=NAME`; of one that has none there, that of its class."""
    return plain(rule).get("halting", type(rule).__name__)


def title_of(rule: Halting) -> str:
    """A rule by its name and what else is not usual about it, but for its knob: "fixed_point norm=inf"."""
    usual = {item.name: item.default for item in fields(rule)}
    knob = None if rule.knob is None else rule.knob.setting
    words = [name_of(rule)]
    for key, value in plain(rule).items():
        if key in ("halting", "_target_") or key == knob:
            continue
        if key == "rule":
            words.append(f"({title_of(built(value))})")
        elif key == "rules":
            words.append("(" + ", ".join(title_of(built(part)) for part in value) + ")")
        elif value != usual[key]:
            words.append(f"{key}={_written(value)}")
    return " ".join(words)


def rule_in_words(rule: Halting) -> str:
    """A rule as it is typed, `halting=fixed_point halting.tolerance=0.1`, without its defaults."""
    settings = plain(rule)
    name = settings.pop("halting", None) or settings.pop("_target_")
    usual = {item.name: item.default for item in fields(rule)}
    words = [f"halting={name}"]
    words += [
        f"halting.{key}={_written(value)}" for key, value in settings.items() if value != usual[key]
    ]
    return " ".join(words)


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _imported(path: str) -> type[Halting] | None:
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name) if module else None
    except (ImportError, AttributeError) as error:
        raise UserError(f"cannot import the halting rule {path}: {error}") from error
    if kind is not None and not (isinstance(kind, type) and issubclass(kind, Halting)):
        raise UserError(f"{path} must be a subclass of loopverse.depth.Halting, got {kind!r}")
    return kind


def _rules() -> dict[str, type[Halting]]:
    # Here, because the table names rules that use this file.
    from loopverse.depth.halting.rules import RULES

    return RULES

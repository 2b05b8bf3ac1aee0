"""What can be set: every setting and group by name, and what a wrong name was meant to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from omegaconf import DictConfig, OmegaConf

from loopverse.errors import UserError, closest, unknown
from loopverse.training.config import GROUPS, TrainConfig
from loopverse.training.sources import composed, group_options


def parsed(overrides: Sequence[str]) -> list[Override]:
    """The overrides as Hydra reads them."""
    return OverridesParser.create().parse_overrides(list(overrides))


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse what Hydra would take and we cannot use: a group without a name, `+` and `~`.

    Raises:
        ValueError: which override, and what to write instead.
    """
    groups = group_options()
    for override in parsed(overrides):
        name, written = override.key_or_group, override.input_line
        if not name:
            raise UserError(f"cannot read {written!r}: settings are written key=value")
        if name.startswith("choices."):
            group = name.removeprefix("choices.")
            raise UserError(f"{name} is filled in by itself: write {group}=NAME to choose")
        if override.is_delete():
            raise UserError(
                f"{written}: nothing can be taken away; write {name}=VALUE to change it"
            )
        if name in groups:
            if override.package or override.is_add() or override.is_force_add():
                raise UserError(f"{written}: to choose a {name}, write {name}=NAME")
            if not override.is_sweep_override() and not isinstance(override.value(), str):
                raise unknown(name, str(override.get_value_element_as_str()), group_options(name))


def trials(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Lines without a sweep that together try every value of the sweeps in `overrides` once."""
    read = parsed(overrides)
    fixed = [str(o.input_line) for o in read if not o.is_sweep_override()]
    swept = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        for o in read
        if o.is_discrete_sweep() and not isinstance(o.value(), Glob)
    ]
    first = [values[0] for values in swept]
    yield fixed + first
    for place, values in enumerate(swept):
        for value in values[1:]:
            yield [*fixed, *first[:place], value, *first[place + 1 :]]


def unknown_setting(name: str, overrides: Sequence[str], where: str = "") -> UserError:
    """The error for a setting that nothing has, with the one that was probably meant.

    Args:
        name: the setting, as it was written.
        overrides: of the whole call: which options were chosen decides what can be set.
        where: the file it was written in, if not the command line.
    """
    plain = name.replace("/", ".")
    parts = [f"unknown setting {name!r}{where}"]
    if owners := _options_with(plain):
        parts.append(f"{' and '.join(owners)} {'have' if len(owners) > 1 else 'has'} it")
    elif guesses := likely_settings(plain, overrides):
        parts.append(f"did you mean {' or '.join(repr(guess) for guess in guesses)}?")
    parts.append("`loopverse train --help` lists all")
    return UserError("; ".join(parts).replace("?;", "?"))


def likely_settings(name: str, overrides: Sequence[str] = ()) -> list[str]:
    """Up to three settings that a wrong name may have been meant for."""
    return _guesses(name, settings(overrides))


def settings(overrides: Sequence[str] = ()) -> list[str]:
    """Every setting by its full name, under the groups that `overrides` choose; then the groups."""
    groups = group_options()
    try:
        choices = [o for o in parsed(overrides) if o.key_or_group in groups]
        single = [str(o.input_line) for o in choices if not o.is_sweep_override()]
        values = composed(single)
    except Exception:  # this serves another error's message: the schema alone will do
        values = OmegaConf.structured(TrainConfig)
    return [*leaves(values, ""), *groups]


def _guesses(name: str, known: Sequence[str]) -> list[str]:
    if name in known:
        return [name]
    last = name.rpartition(".")[2]
    namesakes = [other for other in known if other.rpartition(".")[2] == last]
    near = closest(name, known)
    if namesakes and near not in namesakes:
        return namesakes[:3]
    if near is not None:
        return [near]
    by_last = {other.rpartition(".")[2]: other for other in reversed(known)}
    guess = closest(last, by_last)
    return [by_last[guess]] if guess else []


def _options_with(name: str) -> list[str]:
    """Options of a group, as `group=option`, that have the setting when the chosen one has not."""
    parent, _, last = name.rpartition(".")
    group = parent.replace(".", "/")
    return [
        f"{group}={option}"
        for option, kind in GROUPS.get(group, {}).items()
        if last in {field.name for field in fields(kind)}
    ]


def leaves(node: DictConfig, prefix: str) -> Iterable[str]:
    """Every setting in a node, by its full name."""
    for name in node:
        if (full := f"{prefix}{name}") in ("hydra", "choices"):
            continue
        child: Any = node._get_node(name)
        if isinstance(child, DictConfig) and not child._is_missing() and not child._is_none():
            yield from leaves(child, f"{full}.")
        else:
            yield full

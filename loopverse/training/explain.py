"""Errors of Hydra and OmegaConf, said in the user's words: one sentence with the remedy."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import YAMLError

from loopverse.errors import UserError, unknown
from loopverse.training.names import unknown_setting
from loopverse.training.sources import group_options

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_CONVERTED = {"Integer": _WORDS[int], "Float": _WORDS[float], "Boolean": _WORDS[bool]}


@contextmanager
def explained(overrides: Sequence[str]) -> Iterator[None]:
    """Within it, errors of Hydra and OmegaConf come out as `UserError`; other errors as they are."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise _explain(error, overrides) from error


def _explain(error: Exception, overrides: Sequence[str]) -> UserError:
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, MissingConfigException):
        return _no_such_option(error)
    if isinstance(error, YAMLError):
        return UserError(f"a settings file is not YAML: {_one_line(error)}")
    file = re.match(r"In '([^']+)': ", str(error))
    where = f" (in {file[1]}.yaml)" if file else ""
    cause = _cause(error)
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        return unknown_setting(cause.full_key, overrides, where)
    if isinstance(cause, InterpolationResolutionError):
        return UserError(
            f"{cause.full_key} refers to a setting that is not there: {_first_line(cause)}"
        )
    if isinstance(cause, ValidationError):
        return _wrong_value(cause, overrides, where)
    if found := re.match(r"Ambiguous value for argument '(.+)'", str(error)):
        return _several_values(found[1])
    if found := re.match(r"(?:In '.+': )?Could not override '(.+)'", str(error)):
        return unknown_setting(found[1], overrides, where)
    return UserError(_one_line(error))


def _unreadable(override: str) -> UserError:
    key, equals, value = override.partition("=")
    if equals and re.fullmatch(r"[\w./@:-]+", key):
        return UserError(
            f"cannot read the value in {override}: quote it twice, '{key}=\"{value}\"', "
            "once for the shell and once for Loopverse"
        )
    owner = next((group for group in group_options() if override in group_options(group)), None)
    example = f"did you mean {owner}={override}?" if owner else "for example core=huginn"
    return UserError(f"cannot read {override!r}: settings are written key=value; {example}")


def _several_values(override: str) -> UserError:
    key, _, value = override.partition("=")
    return UserError(
        f"{override} holds several values: add -m to run each of them, write {key}=[{value}] "
        f"for a list, or quote it, '{key}=\"{value}\"', for text with a comma"
    )


def _no_such_option(error: MissingConfigException) -> UserError:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return UserError(f"there is no settings file {name}.yaml; the one to start from is train")
    remedy = "see `loopverse domains`" if group == "domain" else ""
    return unknown(group, name, error.options or [], remedy)


def _wrong_value(error: ValidationError, overrides: Sequence[str], where: str) -> UserError:
    name = error.full_key or ""
    group = name.replace(".", "/")
    if group in group_options():
        return UserError(
            f"{name} is chosen by name: write {group}=NAME, one of "
            f"{', '.join(group_options(group))}, and its settings as {name}.KEY=VALUE{where}"
        )
    expected = _expected(error)
    if expected is None:
        return UserError(f"{name}: {_first_line(error)}{where}")
    written = [o.partition("=")[2] for o in overrides if o.startswith(f"{name}=")]
    quoted = re.search(r"'([^']*)'", str(error))
    given = written[-1] if written else quoted[1] if quoted else str(error.value)
    return UserError(f"{name} must be {expected}, got {given or 'nothing'}{where}")


def _expected(error: ValidationError) -> str | None:
    """What the setting takes, in words."""
    if isinstance(error.object_type, type) and is_dataclass(error.object_type):
        return _in_words(typing.get_type_hints(error.object_type).get(str(error.key)))
    converted = re.search(r"could not be converted to (\w+)", str(error))
    return _CONVERTED.get(converted[1]) if converted else None


def _in_words(kind: Any) -> str | None:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        words = [_in_words(part) or str(part) for part in arguments if part is not type(None)]
        return " or ".join([*words, *(["null"] if type(None) in arguments else [])])
    if origin is tuple:
        return f"a list of {len(arguments)}"
    if origin is list:
        return "a list, [a, b]"
    if origin is dict:
        return "a mapping, {key: value}"
    if isinstance(kind, type) and is_dataclass(kind):
        return f"set one by one: {', '.join(field.name for field in fields(kind)[:3])} and so on"
    return _WORDS.get(kind)


def _cause(error: BaseException) -> BaseException | None:
    """The error of OmegaConf inside an error of Hydra."""
    current: BaseException | None = error
    while current is not None and not isinstance(current, OmegaConfBaseException):
        current = current.__cause__ or current.__context__
    return current


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())

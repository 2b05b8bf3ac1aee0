"""Settings of a planner from `KEY=VALUE` words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import yaml

from loopverse.errors import UserError, unknown
from loopverse_world_model.planning import ICEM, PLANNERS, CategoricalCEM, Planner

CHOICE = "planner"


def usual_planner(sizes: tuple[int, ...] | None) -> str:
    """The name of the planner to use for actions of these categories, or for numbers."""
    usual = ICEM if sizes is None else CategoricalCEM
    return next(name for name, kind in PLANNERS.items() if kind is usual)


def is_planning(word: str) -> bool:
    """Whether a word sets something of some planner."""
    name = word.partition("=")[0]
    return name == CHOICE or any(
        name in {item.name for item in fields(kind)} for kind in PLANNERS.values()
    )


def read_planner(words: Sequence[str], sizes: tuple[int, ...] | None) -> Planner:
    """The planner that words such as `planner=cem horizon=20` ask for.

    Args:
        words: settings; without `planner=NAME` it is the usual one for the actions.
        sizes: categories of the actions; None: they are numbers.

    Raises:
        UserError: an unknown planner or setting, a value that it cannot have, a planner for others.
    """
    given: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name in given:
            raise UserError(f"{name} is given twice, leave one out")
        given[name] = value
    name = given.pop(CHOICE, usual_planner(sizes))
    if name not in PLANNERS:
        raise unknown(CHOICE, name, PLANNERS)
    known = {item.name: item for item in fields(PLANNERS[name])}
    settings = {}
    for key, text in given.items():
        if key not in known:
            raise unknown(f"setting of planner {name}", key, known)
        settings[key] = _number(key, text, type(known[key].default))
    planner = PLANNERS[name](**settings)
    planner.check(sizes)
    return planner


def _number(name: str, text: str, kind: type) -> int | float | bool:
    value = yaml.safe_load(text) if text else None
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        kinds = {int: "a whole number", float: "a number", bool: "true or false"}
        raise UserError(f"{name} must be {kinds.get(kind, kind.__name__)}, got {text!r}")
    assert isinstance(value, int | float)
    return value

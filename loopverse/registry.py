"""Domains by name: the entry points of the group `loopverse.domains`."""

from __future__ import annotations

import warnings
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from loopverse.errors import UserError, unknown

if TYPE_CHECKING:
    from loopverse.domain import DomainAdapter

GROUP = "loopverse.domains"


def domain_entry_points() -> dict[str, EntryPoint]:
    """Every installed domain by name, nothing imported; a name claimed twice warns, the first wins."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if found.setdefault(point.name, point).value != point.value:
            warnings.warn(
                f"two packages offer the domain {point.name!r}: using {found[point.name].value}, "
                f"ignoring {point.value}",
                stacklevel=2,
            )
    return dict(sorted(found.items()))


def load_domain(name: str) -> type[DomainAdapter]:
    """The adapter class of a domain; only its own package is imported.

    Raises:
        ValueError: no such domain, its package does not import, or it is no adapter.
    """
    points = domain_entry_points()
    if name not in points:
        raise unknown(
            "domain", name, points, "a domain of your own is an entry point of `loopverse.domains`"
        )
    try:
        adapter = points[name].load()
    except Exception as error:  # whatever a stranger's package raises; its cause is kept
        raise UserError(
            f"domain {name!r} is registered as {points[name].value} and does not import "
            f"({type(error).__name__}: {error}): mend or uninstall that package"
        ) from error
    from loopverse.domain import (
        DomainAdapter,
    )  # here, because listing domains must not import torch

    if not (isinstance(adapter, type) and issubclass(adapter, DomainAdapter)):
        raise UserError(
            f"domain {name!r} must be a subclass of loopverse.DomainAdapter, got {adapter!r}: "
            f"mend the entry point {points[name].value}"
        )
    return adapter

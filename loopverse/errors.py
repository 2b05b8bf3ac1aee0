"""How Loopverse refuses: one sentence that says what was expected, what came, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can mend; the command line prints it as one line and exits with 2.

    Any `ValueError` raised by Loopverse or by a domain is treated the same way. This class is for
    the places where an error of another library is put into the user's words.
    """


def closest(name: str, known: Iterable[str]) -> str | None:
    """The name in `known` that `name` was probably meant to be, if there is one."""
    by_lower = {option.lower(): option for option in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def unknown(kind: str, name: str, known: Iterable[str], remedy: str = "") -> UserError:
    """The error for a name that is not among `known`: suggests the nearest one and lists them all.

    Args:
        kind: what was named, as the user calls it ("domain", "core", "setting").
        remedy: what to do if the name is right, such as installing a package.
    """
    known = sorted(known)
    guess = closest(name, known)
    parts = [f"unknown {kind} {name!r}"]
    if guess is not None:
        parts.append(f"did you mean {guess!r}?")
    parts.append(f"known: {', '.join(known)}" if known else f"there is no {kind} to choose from")
    if remedy:
        parts.append(remedy)
    return UserError("; ".join(parts).replace("?;", "?"))

"""Telling a mistake of the user from a bug, and saying it in one line."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from loopverse import registry
from loopverse.errors import UserError

MISTAKEN = 2
BROKEN = 1


def say(error: Exception, where: str = "") -> int:
    """Print what went wrong on standard error; returns the exit status.

    Args:
        error: a mistake is one line; a bug, or anything when `LOOPVERSE_TRACEBACK=1`, a traceback.
        where: which of several things went wrong, if there are several.
    """
    if os.environ.get("LOOPVERSE_TRACEBACK") == "1" or not is_mistake(error):
        traceback.print_exception(error)
        return MISTAKEN if is_mistake(error) else BROKEN
    print(f"loopverse: {f'{where}: ' if where else ''}{one_line(error)}", file=sys.stderr)
    return MISTAKEN


def is_mistake(error: Exception) -> bool:
    """Whether the user can mend it: the system said no, or we or a domain raised a `ValueError`.

    A `ValueError` from within another library is a bug in the code that called it.
    """
    if isinstance(error, UserError | OSError):
        return True
    if not isinstance(error, ValueError) or error.__traceback__ is None:
        return False
    innermost = error.__traceback__
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
    module = str(innermost.tb_frame.f_globals.get("__name__"))
    points = [*registry.domain_entry_points().values(), *registry.command_entry_points().values()]
    ours = {"loopverse", *(point.module.split(".")[0] for point in points)}
    return module.split(".")[0] in ours


def one_line(error: Exception) -> str:
    """The message on one line; errors of the system name their file first."""
    if isinstance(error, OSError) and error.strerror:
        files = [str(file) for file in (error.filename, error.filename2) if file is not None]
        return ": ".join([*files, error.strerror])
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Within it, a warning is one line on standard error, without the source it came from."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"loopverse: warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield

"""The command line: `loopverse COMMAND ...`, how it answers mistakes, and what a command is made of.

Commands of other packages are entry points of the group `loopverse.commands`; the public names below
are what they need to look and behave as ours. Nothing here imports torch before a command needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from loopverse import __version__, registry
from loopverse.cli.mistakes import say, warnings_in_one_line
from loopverse.cli.overview import COMMANDS, more_commands, show_overview
from loopverse.errors import UserError, unknown
from loopverse.memory import keep_freed_memory

if TYPE_CHECKING:
    from loopverse.cli.arguments import Parser, loops_list, loops_number, numbers_list
    from loopverse.cli.exhibits import show_exhibits
    from loopverse.cli.outcome import finished, stopped
    from loopverse.cli.overview import show_examples
    from loopverse.training.progress import console_reporter

__all__ = [
    "Parser",
    "console_reporter",
    "finished",
    "loops_list",
    "loops_number",
    "main",
    "numbers_list",
    "show_examples",
    "show_exhibits",
    "stopped",
]

_HOMES = {
    "Parser": "loopverse.cli.arguments",
    "console_reporter": "loopverse.training.progress",
    "finished": "loopverse.cli.outcome",
    "loops_list": "loopverse.cli.arguments",
    "loops_number": "loopverse.cli.arguments",
    "numbers_list": "loopverse.cli.arguments",
    "show_examples": "loopverse.cli.overview",
    "show_exhibits": "loopverse.cli.exhibits",
    "stopped": "loopverse.cli.outcome",
}

INTERRUPTED = 130
UNHEARD = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    A mistake of the user is one line on standard error and status 2, Ctrl-C is 130. Anything else
    that goes wrong is a bug and shows its traceback; `LOOPVERSE_TRACEBACK=1` always shows it.

    Args:
        argv: the words after `loopverse`; default: those of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings_in_one_line():
            status = _dispatch(arguments)
            sys.stdout.flush()  # here, where a reader that has left is no surprise
            return status
    except SystemExit as stop:  # how argparse and Hydra leave, having said what they had to say
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt as stop:
        print(f"loopverse: {stop}" if str(stop) else "loopverse: interrupted", file=sys.stderr)
        return getattr(stop, "status", INTERRUPTED)
    except BrokenPipeError:  # whoever reads our output (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNHEARD
    except Exception as error:
        return say(error)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        show_overview()
        return 0
    name, *rest = arguments
    keep_freed_memory()
    if name in ("-V", "--version"):
        print(f"loopverse {__version__}")
        return 0
    if name in ("-sc", "--shell-completion"):
        name = "completion"
    elif name not in COMMANDS:
        return _dispatch_to_package(name, rest)
    command: registry.Command = import_module(f"loopverse.cli.{name}").command
    return command(rest)


def _dispatch_to_package(name: str, arguments: list[str]) -> int:
    """Run a command that another package brings."""
    points = more_commands()
    if name not in points:
        remedy = "`loopverse --help` says what each does"
        raise unknown("command", name, [*COMMANDS, *points], remedy)
    status = registry.load_command(points[name])(arguments)
    if not isinstance(status, int):
        raise UserError(
            f"command {name!r} must return its exit status, a whole number, got {status!r}: "
            f"mend {points[name].value}, 0 says that all went well"
        )
    return status


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'loopverse.cli' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

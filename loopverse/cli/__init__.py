"""The command line: `loopverse COMMAND ...`, and how it answers mistakes.

Nothing here imports torch before a command needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from loopverse import __version__
from loopverse.cli.mistakes import say, warnings_in_one_line
from loopverse.cli.overview import COMMANDS, show_overview
from loopverse.errors import unknown

__all__ = ["main"]

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
    except KeyboardInterrupt:
        print("loopverse: interrupted", file=sys.stderr)
        return INTERRUPTED
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
    if name in ("-V", "--version"):
        print(f"loopverse {__version__}")
        return 0
    if name in ("-sc", "--shell-completion"):
        name = "completion"
    elif name not in COMMANDS:
        raise unknown("command", name, COMMANDS, "`loopverse --help` says what each does")
    command: Callable[[list[str]], int] = import_module(f"loopverse.cli.{name}").command
    return command(rest)

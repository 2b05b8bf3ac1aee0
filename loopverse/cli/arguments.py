"""Options of a command: argparse, with errors as one sentence and help that shows examples."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from rich.console import Console

from loopverse.cli.overview import show_examples, show_pairs
from loopverse.errors import UserError, closest


class Parser(argparse.ArgumentParser):
    """The options of `loopverse NAME`.

    Args:
        name: of the command.
        about: what it does, in a sentence or two.
        examples: lines to type, and what they are for.
        settings: what `KEY=VALUE` words set, for a command that takes them anywhere in its line
            (`parse_with_settings`).
    """

    def __init__(
        self, name: str, about: str, examples: dict[str, str], settings: str | None = None
    ) -> None:
        super().__init__(f"loopverse {name}", allow_abbrev=False, add_help=False)
        self.about = about
        self.examples = examples
        self.settings = settings
        self.add_argument("-h", "--help", action=_Help, nargs=0, help="show this")

    def parse_with_settings(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Like `parse_args`; `KEY=VALUE` words, wherever they stand, are the list `settings`.

        argparse has a way of its own to mix words with options, which forgets what help needs.
        """
        options, rest = self.parse_known_args(arguments)
        options.settings = [word for word in rest if "=" in word and not word.startswith("-")]
        others = [word for word in rest if word not in options.settings]
        if others:
            self.error(f"unrecognized arguments: {others[0]}")
        return options

    def error(self, message: str) -> NoReturn:
        """Refuse the line.

        Raises:
            ValueError: always, with the option that was probably meant.
        """
        unrecognized = re.match(r"unrecognized arguments: (\S+)", message)
        if unrecognized:
            word = unrecognized[1]
            guess = closest(word, self._option_string_actions)
            message = (
                f"unknown option {word}" if word.startswith("-") else f"{word} is one too many"
            )
            message += f"; did you mean {guess}?" if guess else ""
        raise UserError(f"{message}; see `{self.prog} --help`".replace("?;", "?"))


class _Help(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        assert isinstance(parser, Parser)
        console = Console(highlight=False)
        positional = [action for action in parser._actions if not action.option_strings]
        names = [
            f"\\[{action.metavar} ...]" if action.nargs == "*" else str(action.metavar)
            for action in positional
        ]
        if parser.settings is not None:
            names.append("\\[KEY=VALUE ...]")
        console.print(f"[bold]usage[/]  {' '.join([parser.prog, *names])} \\[OPTIONS]\n")
        console.print(f"{parser.about}\n")
        arguments = {str(action.metavar): action.help or "" for action in positional}
        if parser.settings is not None:
            arguments["KEY=VALUE"] = parser.settings
        options = {_spelled(action): action.help or "" for action in parser._actions}
        show_pairs(console, "options", arguments | {k: v for k, v in options.items() if k})
        show_examples(console, parser.examples)
        parser.exit()


def _spelled(action: argparse.Action) -> str:
    spelled = ", ".join(action.option_strings)
    if not spelled or action.nargs == 0:
        return spelled
    return f"{spelled} {action.metavar or action.dest.upper()}"


def numbers_list(text: str) -> list[int]:
    """Whole numbers from `1,2,4`, in order and once each."""
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers, such as 1,2,4,8, got {text}"
        ) from None


def loops_list(text: str) -> list[int]:
    """Numbers of loops from `1,2,4`."""
    loops = numbers_list(text)
    if loops[0] < 1:
        raise argparse.ArgumentTypeError(f"the number of loops must be at least 1, got {text}")
    return loops


def loops_number(text: str) -> int:
    """A number of loops."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"the number of loops must be 1 or more, got {text}")
    return int(text)

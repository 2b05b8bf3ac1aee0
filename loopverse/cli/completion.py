"""Completion with the tab key: commands here, settings of `train` by Hydra."""

from __future__ import annotations

import os

from loopverse.cli.overview import COMMANDS, more_commands


def command(arguments: list[str]) -> int:
    """Answer the shell, which asks `loopverse -sc query=SHELL` about the line in `COMP_LINE`."""
    words = os.environ.get("COMP_LINE", "").split()
    asked = any(word.startswith("query=") for word in arguments)
    if asked and words[1:2] != ["train"]:
        begun = words[1] if len(words) > 1 else ""
        names = [*COMMANDS, *more_commands()]
        print(" ".join(name for name in names if name.startswith(begun)))
        return 0
    if asked:
        os.environ["COMP_LINE"] = os.environ["COMP_LINE"].replace(" train", "", 1)
    from loopverse.cli.train import command as train_command  # imports torch

    return train_command(["--shell-completion", *arguments])

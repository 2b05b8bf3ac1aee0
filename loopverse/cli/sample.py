"""`loopverse sample`: a trained model continues prompts, shown as it speaks."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from loopverse.cli.arguments import Parser, loops_number
from loopverse.errors import UserError

if TYPE_CHECKING:
    from loopverse.depth import LoopResult
    from loopverse.domain import Sample
    from loopverse.training import LoadedRun
    from loopverse.training.use import Use

FLAGS = ("length", "temperature", "top_k", "top_p", "seed")
"""Settings that every domain has, and that can be written as options too."""
ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


def command(arguments: list[str]) -> int:
    """Continue every `--prompt`, or begin from nothing."""
    options = _parser().parse_with_settings(arguments)
    from loopverse.cli.stream import show  # below the parser: these import torch, or much else
    from loopverse.registry import load_domain
    from loopverse.training import RunFolder, load
    from loopverse.training.use import read_use

    folder = RunFolder.open(options.run)
    values = [(name, getattr(options, name)) for name in FLAGS]
    words = [f"{name}={value}" for name, value in values if value is not None]
    domain = load_domain(folder.config.choices["domain"])
    use = read_use(domain.Sampling, [*words, *options.settings], folder.path)
    if options.list:
        from loopverse.cli.settings import show_use

        show_use(use)
        return 0
    loaded = load(folder, options.checkpoint)
    prompts = [unescaped(prompt) for prompt in options.prompt or [""]]
    depths: set[int] = set()

    def observe(found: LoopResult) -> None:
        depths.update(found.depth.unique().tolist())

    early = use.halting.adaptive and options.loops != 1
    said = pieces(loaded, prompts, use, options.loops, observe if early else None)
    show(prompts, said, sys.stdout)
    if len(depths) == 1:
        warnings.warn(_the_same_for_all(use, depths.pop(), options.run), stacklevel=1)
    return 0


def pieces(
    run: LoadedRun,
    prompts: Sequence[str],
    use: Use,
    loops: int | None = None,
    observe: Callable[[LoopResult], None] | None = None,
) -> Iterator[Sample]:
    """What the model says, piece by piece.

    Args:
        run: a loaded run.
        prompts: what to continue, or to fill in, where the domain does.
        use: how much, how boldly, how deep where.
        loops: depth of every call; None: the one it was trained for.
        observe: called with the result of each call.

    Raises:
        ValueError: the domain has nothing to show, or refuses a prompt.
    """
    think = use.think(run.model, loops or run.config.schedule.typical(), observe)
    try:
        yield from run.model.adapter.sample(think, prompts, use.sampling)
    except NotImplementedError as error:
        raise UserError(str(error)) from error


def _the_same_for_all(use: Use, loops: int, run: str) -> str:
    from loopverse.depth.halting.naming import rule_in_words

    words, said = rule_in_words(use.halting), "1 loop" if loops == 1 else f"{loops} loops"
    return (
        f"{words} gave every unit {said}, as a fixed depth would; what it looks at is told by: "
        f"loopverse evaluate {run} {words}"
    )


def unescaped(prompt: str) -> str:
    r"""A prompt as it was meant: `\n` is a line break, `\t` a tab, `\\` a backslash.

    A shell's quotes keep `\n` as two characters, and a prompt of several lines is written so. Any
    other backslash is one.
    """
    return re.sub(r"\\([nt\\])", lambda found: ESCAPES[found[1]], prompt)


def _parser() -> Parser:
    parser = Parser(
        "sample",
        "Let a trained model continue prompts. Depth is free to choose: a model trained with 4 loops "
        "may think 1 or 16 times about every unit. A domain may have more settings, and other "
        "defaults: --settings lists those of the run's.",
        {
            "loopverse sample runs/NAME": "from nothing",
            'loopverse sample runs/NAME --prompt "def " --prompt "class "': "two at once",
            'loopverse sample runs/NAME --prompt "def " --loops 8 --temperature 0': "deeper, greedily",
            "loopverse sample runs/NAME --settings": "what else can be set, and what it means",
            "loopverse sample runs/NAME halting=fixed_point halting.tolerance=0.1": "stop early "
            "where nothing changes any more",
        },
        settings="settings of sampling, `budget=`, `halting=` and `vote=`; --settings lists them",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        action="append",
        help=r"text to continue; again for another, of any length; \n is a line break, \\ a backslash",
    )
    parser.add_argument(
        "--length", "--tokens", metavar="N", type=int, help="units to add to each (200)"
    )
    parser.add_argument(
        "--temperature", metavar="T", type=float, help="0 takes the most likely every time (0.8)"
    )
    parser.add_argument(
        "--top-k", metavar="K", type=int, help="among the k most likely; 0: all (0)"
    )
    parser.add_argument(
        "--top-p", metavar="P", type=float, help="among the likeliest of this total probability (1)"
    )
    parser.add_argument("--seed", metavar="N", type=int, help="another seed, another text (0)")
    parser.add_argument("--loops", metavar="N", type=loops_number, help="depth (that of training)")
    parser.add_argument(
        "--checkpoint", metavar="WHICH", default="best", help="best, last or a step (best)"
    )
    parser.add_argument(
        "--settings",
        dest="list",
        action="store_true",
        help="list the settings with their values and what they mean, and stop",
    )
    return parser

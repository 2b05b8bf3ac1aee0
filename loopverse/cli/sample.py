"""`loopverse sample`: a trained model continues prompts, shown as it speaks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, TextIO

from loopverse.cli.arguments import Parser, loops_number
from loopverse.errors import UserError

if TYPE_CHECKING:
    from loopverse.domain import Sample, SampleSettings
    from loopverse.training import LoadedRun


def command(arguments: list[str]) -> int:
    """Continue every `--prompt`, or begin from nothing."""
    options = _parser().parse_args(arguments)
    from loopverse.domain import SampleSettings  # below the parser: these import torch
    from loopverse.training import load

    settings = SampleSettings(
        length=options.length,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        seed=options.seed,
    )
    loaded = load(options.run, options.checkpoint)
    prompts = options.prompt or [""]
    show(prompts, pieces(loaded, prompts, settings, options.loops), sys.stdout)
    return 0


def pieces(
    run: LoadedRun, prompts: Sequence[str], settings: SampleSettings, loops: int | None = None
) -> Iterator[Sample]:
    """What the model says, piece by piece.

    Args:
        run: a loaded run.
        prompts: what to continue.
        settings: how much and how boldly.
        loops: depth of every call; None: the one it was trained for.

    Raises:
        ValueError: the domain has nothing to show, or refuses a prompt.
    """
    think = run.model.bind(loops or run.config.schedule.typical(), seed=settings.seed)
    try:
        yield from run.model.adapter.sample(think, prompts, settings)
    except NotImplementedError as error:
        raise UserError(str(error)) from error


def show(prompts: Sequence[str], said: Iterator[Sample], out: TextIO) -> None:
    """Write each prompt and what follows: the first as it is said, the others after it."""
    rest = [""] * len(prompts)
    first = next(said, None)  # before anything is written: now a prompt may be refused
    _begin(prompts, 0, out)
    for piece in chain([first] if first else [], said):
        text = _harmless(piece.text) if out.isatty() else piece.text
        if piece.row == 0:
            out.write(text)
            out.flush()
        else:
            rest[piece.row] += text
    for row in range(1, len(prompts)):
        out.write("\n")
        _begin(prompts, row, out)
        out.write(rest[row])
    out.write("\n")


def _begin(prompts: Sequence[str], row: int, out: TextIO) -> None:
    if len(prompts) > 1:
        out.write(f"--- {row + 1} of {len(prompts)}\n")
    out.write(f"\x1b[1m{prompts[row]}\x1b[0m" if out.isatty() and prompts[row] else prompts[row])
    out.flush()


def _harmless(text: str) -> str:
    """Text that cannot command a terminal: a model that knows little says any character."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def _parser() -> Parser:
    parser = Parser(
        "sample",
        "Let a trained model continue prompts. Depth is free to choose: a model trained with 4 loops "
        "may think 1 or 16 times about every token.",
        {
            "loopverse sample runs/NAME": "from nothing",
            'loopverse sample runs/NAME --prompt "def " --prompt "class "': "two at once",
            'loopverse sample runs/NAME --prompt "def " --loops 8 --temperature 0': "deeper, greedily",
        },
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        action="append",
        help="text to continue; again for another, of any length",
    )
    parser.add_argument(
        "--length",
        "--tokens",
        metavar="N",
        type=int,
        default=200,
        help="units to add to each (200)",
    )
    parser.add_argument(
        "--temperature",
        metavar="T",
        type=float,
        default=0.8,
        help="0 takes the most likely every time (0.8)",
    )
    parser.add_argument(
        "--top-k", metavar="K", type=int, default=0, help="among the k most likely; 0: all (0)"
    )
    parser.add_argument(
        "--top-p",
        metavar="P",
        type=float,
        default=1.0,
        help="among the likeliest of this total probability (1)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="another seed, another text (0)"
    )
    parser.add_argument("--loops", metavar="N", type=loops_number, help="depth (that of training)")
    parser.add_argument(
        "--checkpoint", metavar="WHICH", default="best", help="best, last or a step (best)"
    )
    return parser

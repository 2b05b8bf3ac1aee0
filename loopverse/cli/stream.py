"""What a model says, shown as it comes: text that grows is written, drafts are redrawn in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from loopverse.domain import Sample

BLOCKS = "[\u2580-\u259f]+"
"""Block characters, which domains put in drafts where nothing is known yet; they are shown dim."""


def show(prompts: Sequence[str], said: Iterator[Sample], out: TextIO) -> None:
    """Write what every prompt becomes: the first as it is said, the others after it.

    Drafts are shown on a terminal only, all rows at once; the finished texts take their place.
    """
    first = next(said, None)  # before anything is written: now a prompt may be refused
    rows = [(prompt, "") for prompt in prompts]  # what is given, what is said
    flowing = False
    with _Board(prompts, out) as board:
        for piece in chain([first] if first else [], said):
            given, text = rows[piece.row]
            if piece.draft:
                if not flowing:
                    board.draw(piece.row, piece.text if piece.whole else given + text + piece.text)
                continue
            rows[piece.row] = ("", piece.text) if piece.whole else (given, text + piece.text)
            if board.drawn:
                board.draw(piece.row, "".join(rows[piece.row]))
            elif piece.row == 0 and not piece.whole:
                if not flowing:
                    _begin(rows, 0, out)
                    flowing = True
                _write(piece.text, out)
    for row in range(len(rows)):
        if row > 0:
            out.write("\n")
        if row > 0 or not flowing:
            _begin(rows, row, out)
            _write(rows[row][1], out)
    out.write("\n")


class _Board:
    """Where drafts are redrawn: a part of the terminal, or nothing where there is none."""

    def __init__(self, prompts: Sequence[str], out: TextIO) -> None:
        self._texts = list(prompts)
        self._out = out
        self._live: Live | None = None

    @property
    def drawn(self) -> bool:
        """Whether there is something on it."""
        return self._live is not None

    def draw(self, row: int, text: str) -> None:
        """Show what a row looks like now."""
        if not self._out.isatty():
            return
        self._texts[row] = text
        if self._live is None:
            # Ten times a second: every redraw takes time from the model on the same cores.
            console = Console(file=self._out, highlight=False)
            self._live = Live(console=console, refresh_per_second=10, transient=True)
            self._live.update(self._all())
            self._live.start(refresh=True)
        else:
            self._live.update(self._all())

    def __enter__(self) -> _Board:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _all(self) -> Group:
        shown = []
        for row, text in enumerate(self._texts):
            shown += [Text(line) for line in [_header(row, len(self._texts))] if line]
            shown.append(Text(_harmless(text)))
            shown[-1].highlight_regex(BLOCKS, "dim")
        return Group(*shown)


def _begin(rows: Sequence[tuple[str, str]], row: int, out: TextIO) -> None:
    """Write what stands before what is said: a header where there are several, and the prompt."""
    if header := _header(row, len(rows)):
        out.write(f"{header}\n")
    given, _ = rows[row]
    out.write(f"\x1b[1m{given}\x1b[0m" if out.isatty() and given else given)
    out.flush()


def _header(row: int, count: int) -> str:
    return f"--- {row + 1} of {count}" if count > 1 else ""


def _write(text: str, out: TextIO) -> None:
    out.write(_harmless(text) if out.isatty() else text)
    out.flush()


def _harmless(text: str) -> str:
    """Text that cannot command a terminal: a model that knows little says any character."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )

"""Text shaded by numbers, for terminals: in colour, or with a line of marks below each line of text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from loopverse.analysis.shading import readable, swatches, text_shades
from loopverse.analysis.theme import LIGHT
from loopverse.exhibit import ShadedText

MARKS = " ░▒▓█"
"""From the lowest to the highest."""
NOTHING = "·"
"""Below what has no number."""
FAINTEST = 0.08
"""How much of the accent is in the lowest shade; the highest is all of it."""
COLOURFUL = ("256", "truecolor")
"""Terminals whose colours can be ordered from light to dark."""


def show_shaded(console: Console, exhibit: ShadedText) -> None:
    """Print a text and what its shades mean."""
    coloured = console.color_system in COLOURFUL and not console.no_color
    for line in _lines(exhibit, max(20, console.width - 2)):
        if coloured:
            text = Text("  ")
            for piece, shade in line:
                text.append(piece, "" if shade is None else style(shade))
            console.print(text, soft_wrap=True)
        else:
            console.print(Text("  " + "".join(piece for piece, _ in line)), soft_wrap=True)
            marks = "".join(mark(shade) * cell_len(piece) for piece, shade in line)
            console.print(Text(f"  {marks}"), soft_wrap=True)
    legend = Text(f"  {exhibit.unit or 'value'}: ")
    for number, shade in swatches(exhibit):
        if coloured:
            legend.append(f" {number} ", style(shade))
            legend.append(" ")
        else:
            legend.append(f"{mark(shade) * 2} {number}   ")
    if not coloured and None in exhibit.values:
        legend.append(f"{NOTHING * 2} none")
    console.print(legend, soft_wrap=True)


def style(shade: float) -> str:
    """Colours of a shade: darker from 0 to 1, with black or white on it, whichever is legible."""
    share = FAINTEST + (1 - FAINTEST) * shade
    pairs = zip(_channels(LIGHT["accent"]), _channels(LIGHT["paper"]), strict=True)
    ground = [round(share * over + (1 - share) * under) for over, under in pairs]
    ink = "#000000" if _luminance(ground) > 0.179 else "#ffffff"  # where both contrast alike
    return f"{ink} on #{''.join(f'{channel:02x}' for channel in ground)}"


def mark(shade: float | None) -> str:
    """What stands below a piece of this shade, where there is no colour."""
    return NOTHING if shade is None else MARKS[min(int(shade * len(MARKS)), len(MARKS) - 1)]


def _lines(exhibit: ShadedText, width: int) -> Iterator[list[tuple[str, float | None]]]:
    """Lines of at most `width` cells, of characters with their shades."""
    line: list[tuple[str, float | None]] = []
    for piece, shade in zip(exhibit.pieces, text_shades(exhibit), strict=True):
        for character in readable(piece):
            full = sum(cell_len(other) for other, _ in line) + cell_len(character) > width
            if character == "\n" or full:
                yield line
                line = []
            if character != "\n":
                line.append((character, shade))
    if line:
        yield line


def _channels(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def _luminance(channels: list[int]) -> float:
    """Relative luminance (WCAG 2.2)."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in channels)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

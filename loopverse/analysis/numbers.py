"""Numbers and names as people read them."""

import math
import re
from html import escape

from markupsafe import Markup

from loopverse.exhibit import Cell, Estimate

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def count(value: float, digits: int = 3) -> str:
    """`1234567` as `1.23 M`: at least `digits` significant digits, with a prefix of thousands."""
    scale = 0
    while abs(value) >= 999.5 and scale < len(_PREFIXES) - 1:
        value, scale = value / 1000, scale + 1
    text = f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{text} {_PREFIXES[scale]}".strip()


def duration(seconds: float) -> str:
    """`3725` as `1 h 2 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def plain(value: float | None, digits: int = 4) -> str:
    """A figure with as many digits as are worth reading; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        text = "∞" if value > 0 else "-∞"
    elif abs(value) >= 10 ** (digits - 1):
        text = f"{value:.0f}"
    else:
        text = f"{value:#.{digits}g}"
    return text.replace("-", "−")


def rounded(estimate: Estimate) -> tuple[str, str]:
    """A value and its margin, the margin with two digits and the value with as many places.

    The margin is empty where there is none.
    """
    value, margin = estimate.value, estimate.margin
    if margin is None or not (math.isfinite(value) and math.isfinite(margin) and margin > 0):
        return plain(value), "" if margin is None else plain(margin, 2)
    places = max(0, 1 - math.floor(math.log10(margin)))
    if places > 6:
        return plain(value), plain(margin, 2)
    return f"{value:.{places}f}".replace("-", "−"), f"{margin:.{places}f}"


def shown(cell: Cell) -> str:
    """What a cell of a table says; a dash where it is empty."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return str(cell).replace("-", "−")
    if not isinstance(cell, Estimate):
        return plain(cell)
    return " ± ".join(part for part in rounded(cell) if part)


def label(place: str | float) -> str:
    """A place on an axis, as short as it can be."""
    return place if isinstance(place, str) else f"{place:.4g}".replace("-", "−")


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.4f}".replace("-", "−") if math.isfinite(value) else plain(value)


def interval(estimate: Estimate) -> str:
    """The ends of an interval; a dash where there is none."""
    if estimate.low is None or estimate.high is None:
        return "–"
    return f"{estimate.low:.4f} to {estimate.high:.4f}".replace("-", "−")


def words(name: str) -> str:
    """`bits_per_byte` as a person writes it."""
    return name.replace("_", " ")


def loops_in_words(loops: int) -> str:
    """`1 loop`, `4 loops`."""
    return "1 loop" if loops == 1 else f"{loops} loops"


def visible(text: str) -> str:
    """Text that a page can show: control characters replaced, but for line breaks and tabs."""
    return re.sub(r"[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)


def code(text: str) -> Markup:
    """Text as HTML, with what stands between backquotes as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)))

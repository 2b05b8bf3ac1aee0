"""How figures look: one set of colours for light and dark, and SVG that takes them from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIGHT = {
    "paper": "#fbfaf7",
    "card": "#fefefd",
    "ink": "#1c1e26",
    "soft": "#595e6d",
    "line": "#e3e0d9",
    "accent": "#2b59c9",
    "faint": "#b7c7ef",
    "second": "#b0430d",
}
DARK = {
    "paper": "#14161c",
    "card": "#1a1d25",
    "ink": "#eceae4",
    "soft": "#a5aabb",
    "line": "#333845",
    "accent": "#93b2ff",
    "faint": "#40528a",
    "second": "#ffa266",
}
"""By what a colour is for; ink, soft, accent and second are legible as text (contrast above 4.5)."""


@contextmanager
def style() -> Iterator[None]:
    """Inside, matplotlib draws as the reports do, in the light colours."""
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "loopverse",
        "font.family": "sans-serif",
        "font.size": 9.5,
        "text.color": LIGHT["ink"],
        "figure.facecolor": "none",
        "figure.constrained_layout.w_pad": 0.08,
        "figure.constrained_layout.h_pad": 0.07,
        "savefig.facecolor": "none",
        "axes.facecolor": "none",
        "axes.edgecolor": LIGHT["line"],
        "axes.labelcolor": LIGHT["soft"],
        "axes.titlecolor": LIGHT["soft"],
        "axes.titlelocation": "left",
        "axes.titlesize": 9.5,
        "axes.titlepad": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": LIGHT["line"],
        "grid.linewidth": 0.7,
        "xtick.color": LIGHT["line"],
        "ytick.color": LIGHT["line"],
        "xtick.labelcolor": LIGHT["soft"],
        "ytick.labelcolor": LIGHT["soft"],
        "xtick.major.size": 3,
        "ytick.major.size": 0,
        "xtick.minor.visible": False,
        "lines.linewidth": 1.8,
        "lines.solid_capstyle": "round",
    }
    with mpl.rc_context(settings):
        yield


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an `<svg>` element whose colours and font are those of the page around it.

    Args:
        figure: drawn in the light colours.
        name: starts every id in it, so that several figures share a page.
        description: what a person sees in it, for those who do not.
    """
    svg = _svg(figure)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", svg)  # matplotlib 3.9 wrote it so
    svg = re.sub(r"font-family: [^;\"]+(; )?", "", svg)
    for use, colour in LIGHT.items():
        svg = svg.replace(colour, f"var(--{use})")
    head = f'<svg role="img" aria-label="{escape(description)}" viewBox="{_view_box(svg)}">'
    return head + svg[svg.index(">") + 1 :]


def standalone_svg(figure: Figure, description: str) -> str:
    """The figure as an SVG file that follows the reader's choice of light or dark."""
    svg = inline_svg(figure, "figure", description)
    styles = (
        f"<style>svg {{ {declarations(LIGHT)}; font-family: system-ui, sans-serif }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ {declarations(DARK)} }} }}</style>"
    )
    start = svg.index(">") + 1
    width, height = _view_box(svg).split()[2:]
    size = f' width="{width}" height="{height}"'
    spaces = ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    ground = '<rect width="100%" height="100%" style="fill: var(--paper)"/>'
    return svg[: start - 1] + size + spaces + ">" + styles + ground + svg[start:]


def as_png(figure: Figure) -> bytes:
    """The figure in the light colours, on their ground."""
    file = io.BytesIO()
    with style():
        figure.savefig(file, format="png", dpi=160, facecolor=LIGHT["paper"])
    return file.getvalue()


def declarations(colours: dict[str, str]) -> str:
    """The colours as custom properties of CSS."""
    return "; ".join(f"--{use}: {colour}" for use, colour in colours.items())


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    with style():  # whether text stays text is decided here
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _view_box(svg: str) -> str:
    found = re.search(r'viewBox="([^"]+)"', svg)
    assert found is not None
    return found[1]

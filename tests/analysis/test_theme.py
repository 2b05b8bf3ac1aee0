"""Colours: legible in light and dark, and taken from the page by every figure."""

import re
from xml.etree import ElementTree as ET

import pytest

from loopverse.analysis.plots import drawn, histogram, training_loss
from loopverse.analysis.theme import DARK, LIGHT, inline_svg, standalone_svg

ROWS = [{"step": step, "loss": 1 / step} for step in range(1, 50)]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2, relative luminance)."""
    dark, bright = sorted(map(luminance, (one, other)))
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("text", ["ink", "soft", "accent", "second"])
@pytest.mark.parametrize("ground", ["paper", "card"])
def test_text_is_legible(colours: dict[str, str], text: str, ground: str) -> None:
    assert contrast(colours[text], colours[ground]) >= 4.5


def test_both_themes_have_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)  # or one would be taken for another


@pytest.mark.parametrize("panel", [training_loss(ROWS), histogram([1, 2, 2])])
def test_an_inline_figure_takes_all_colours_and_the_font_from_the_page(panel: object) -> None:
    svg = inline_svg(drawn(panel), "loss", "What <it> shows")
    assert re.findall(r"#[0-9a-f]{6}", svg) == []
    assert "var(--accent)" in svg
    assert "font-family" not in svg
    assert "DejaVu" not in svg
    assert 'aria-label="What &lt;it&gt; shows"' in svg


def test_ids_of_two_figures_never_meet() -> None:
    ids = [
        re.findall(r'\bid="([^"]+)"', inline_svg(drawn(training_loss(ROWS)), name, ""))
        for name in ("one", "two")
    ]
    assert ids[0]
    assert len(set(ids[0])) == len(ids[0])
    assert not set(ids[0]) & set(ids[1])


def test_every_reference_in_a_figure_finds_its_target() -> None:
    svg = inline_svg(drawn(histogram([1, 2])), "drawn", "")
    targets = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)
    assert targets
    assert {one or other for one, other in targets} <= set(re.findall(r'\bid="([^"]+)"', svg))


def test_a_file_of_its_own_is_well_formed_and_knows_both_themes() -> None:
    svg = standalone_svg(drawn(training_loss(ROWS)), "Loss & more")
    root = ET.fromstring(svg)
    assert root.attrib["aria-label"] == "Loss & more"
    assert [part.tag.split("}")[1] for part in root][:2] == ["style", "rect"]  # a ground of its own
    assert LIGHT["accent"] in svg
    assert DARK["accent"] in svg
    assert "prefers-color-scheme: dark" in svg

"""Figures: drawn from whatever rows there are, and written to files."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from loopverse.analysis.plots import training_curve
from loopverse.training import RunFolder


def test_the_training_curve_of_a_run_becomes_a_file(run: RunFolder, tmp_path: Path) -> None:
    image = training_curve(run.path, tmp_path / "curve.png")
    assert image.read_bytes().startswith(b"\x89PNG")
    drawing = training_curve(run, tmp_path / "curve.svg")
    ET.fromstring(drawing.read_text(encoding="utf-8"))


def test_a_figure_is_the_same_to_the_byte_when_drawn_again(run: RunFolder, tmp_path: Path) -> None:
    one, two = (training_curve(run, tmp_path / f"{name}.svg").read_bytes() for name in "ab")
    assert one == two


def test_another_ending_and_a_run_without_steps_are_refused(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"written as .png or .svg, got curve.gif"):
        training_curve(run, tmp_path / "curve.gif")
    run.rows.path.unlink()
    with pytest.raises(ValueError, match="no logged step to draw yet"):
        training_curve(run, tmp_path / "curve.png")


def test_drawing_leaves_the_global_state_of_matplotlib_alone(
    run: RunFolder, tmp_path: Path
) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    training_curve(run, tmp_path / "curve.svg")
    assert dict(mpl.rcParams) == before

"""Pictures of an imagined world: the one it observes, or else a plot of the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loopverse.errors import UserError
from loopverse_world_model.spaces import Leaf

RENDER_MODES = ["rgb_array"]
MOST_DRAWN = 200
"""Steps that a plot looks back."""
MOST_LINES = 12
"""Numbers that a plot has lines for."""


def check_render_mode(mode: str | None) -> None:
    """Refuse ways to render that there are not.

    Raises:
        UserError: such a way.
    """
    if mode is not None and mode not in RENDER_MODES:
        raise UserError(
            f"render_mode must be 'rgb_array' or None, got {mode!r}: an imagined world opens no window; "
            "with gymnasium.make, 'human' shows the arrays in one where there is a display"
        )


class History:
    """What a row has observed in this episode.

    Args:
        observed: leaves of the observation.
    """

    def __init__(self, observed: Sequence[Leaf]) -> None:
        self.observed = observed
        self.picture = next((leaf for leaf in observed if leaf.kind == "image"), None)
        self.rows: list[np.ndarray] = []
        self.last: Mapping[str, Any] = {}

    def begin(self) -> None:
        """Forget everything: an episode begins."""
        self.rows = []

    def add(self, leaves: Mapping[str, Any]) -> None:
        """Note down an observation."""
        self.last = leaves
        if self.picture is None:
            numbers = [np.asarray(leaves[leaf.path], np.float64).ravel() for leaf in self.observed]
            self.rows = [*self.rows[1 - MOST_DRAWN :], np.concatenate(numbers)]

    def drawn(self) -> np.ndarray:
        """The first picture that is observed, or a plot of all numbers, `[height width 3]` of bytes."""
        if self.picture is not None:
            return _rgb(np.asarray(self.last[self.picture.path]))
        return _plot(np.stack(self.rows), self._names())

    def _names(self) -> list[str]:
        return [
            leaf.path if leaf.size == 1 else f"{leaf.path}[{number}]"
            for leaf in self.observed
            for number in range(leaf.size)
        ]


def _rgb(picture: np.ndarray) -> np.ndarray:
    channels = picture.shape[2]
    return np.repeat(picture, 3, 2) if channels == 1 else picture[..., :3].copy()


def _plot(rows: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """A line for each number over the last steps, each in its own scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = min(len(names), MOST_LINES)
    figure = Figure(figsize=(4.8, 0.6 * shown + 0.6), dpi=100)
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(shown, 1, sharex=True, squeeze=False)[:, 0]
    for number, panel in enumerate(panels):
        panel.plot(rows[:, number], color="tab:blue", linewidth=1)
        panel.plot(len(rows) - 1, rows[-1, number], ".", color="tab:red")
        panel.set_ylabel(names[number], rotation=0, ha="right", va="center", fontsize=7)
        panel.tick_params(labelsize=6)
        panel.set_xlim(0, MOST_DRAWN)
    figure.tight_layout()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()

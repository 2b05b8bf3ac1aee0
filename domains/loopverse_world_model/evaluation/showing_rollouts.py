"""Exhibits of long imagined rollouts."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from loopverse.exhibit import Cell, Curves, Exhibit, Series, TableExhibit
from loopverse_world_model.evaluation.rollouts import Rollouts

PLACES = 40
"""Steps of a curve that are drawn, evenly spaced on a logarithmic axis."""


def rollout_exhibits(
    found: Sequence[Rollouts], trained: int, refused: Sequence[int]
) -> Iterator[Exhibit]:
    """A table over the numbers of loops, and how the norm of the state and the spread go on.

    Args:
        found: at least one.
        trained: loops that the model is used with.
        refused: numbers of loops that the core cannot run.
    """
    yield _table(found, trained, refused)
    steps = _places(len(found[0].norm))
    norms = [_series(one, one.norm, steps) for one in found]
    if drawn := [line for line in norms if line is not None]:
        yield Curves(
            "State norm in imagined rollouts",
            "Root mean square of the state over its channels, a mean over rollouts. Level: imagination stays "
            "where it is; rising: it drifts away.",
            x_label="imagined steps",
            y_label="root mean square",
            series=drawn,
            log_x=True,
        )
    spreads = [_series(one, one.spread[:, None], steps) for one in found if len(one.spread)]
    if drawn := [line for line in spreads if line is not None]:
        yield Curves(
            "Spread of imagined rollouts",
            "Standard deviation of the predicted numbers over the rollouts, in standard deviations of the "
            "training data. Near 0: all rollouts end up in the same place; near 1: they differ as the "
            "data do.",
            x_label="imagined steps",
            y_label="standard deviations of the data",
            series=drawn,
            log_x=True,
        )


def _table(found: Sequence[Rollouts], trained: int, refused: Sequence[int]) -> TableExhibit:
    steps, num = found[0].norm.shape
    rows: list[list[Cell]] = []
    for one in found:
        gains = [_number(one.gains.median()), _number(one.gains.max())] if len(one.gains) else []
        rows.append(
            [
                f"{one.loops} ({one.loops / trained:g}x)",
                _number(one.norm[-1].mean()),
                _number(one.norm.max()),
                _number(one.spread[-1]) if len(one.spread) else None,
                f"{int(one.left.sum())}/{num}",
                f"{int(one.left_going.sum())}/{num}",
                *(gains or [None, None]),
            ]
        )
    rows += [[f"{loops} ({loops / trained:g}x)", *[None] * 7] for loops in refused]
    missing = " Dashes: the core does not run so many loops." if refused else ""
    return TableExhibit(
        f"Imagined rollouts of {steps} steps",
        f"{num} rollouts under random actions from held-out observations, going on where an episode would "
        "have ended. Norm: of the state, root mean square over channels, after the last step and at its "
        "largest. Spread: of the predictions over the rollouts after the last step, in standard deviations of "
        "the data. Left: a prediction went beyond ten times the range of the training data; going: before "
        "the model held that the episode had ended. Gain: measured contraction, the largest singular "
        "value of one loop's map at states that were visited, median and largest; above 1, neighbouring "
        f"states can drift apart there.{missing}",
        columns=["loops", "norm", "largest", "spread", "left", "going", "gain", "max gain"],
        rows=rows,
    )


def _series(one: Rollouts, values: Tensor, steps: Sequence[int]) -> Series | None:
    """The mean over rollouts at some steps, where it is finite."""
    rows = [(step, values[step - 1]) for step in steps]
    rows = [(step, row) for step, row in rows if bool(row.isfinite().all())]
    if not rows:
        return None
    num = values.shape[1]
    margins: list[float | None] | None = None
    if num > 1:
        margins = [1.96 * float(row.std()) / math.sqrt(num) for _, row in rows]
    x, y = [float(step) for step, _ in rows], [float(row.mean()) for _, row in rows]
    return Series(f"{one.loops} loops", x, y, margins)


def _places(steps: int) -> list[int]:
    return sorted({round(steps ** (k / (PLACES - 1))) for k in range(PLACES)})


def _number(value: Tensor) -> float | None:
    """A number to print; None where it is not finite."""
    return float(value) if bool(value.isfinite()) else None

"""Where a state ends up that moves from loop to loop."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from loopverse.depth import step_size

Trajectory = Literal["fixed point", "orbit", "drift"]
SETTLED = 1e-2
"""Relative change of a state in a loop, below which it stands still."""
RETURNS = 0.1
"""An orbit comes back this near, as a share of the size of its steps."""
LONGEST = 8
"""The longest period that is looked for."""


def trajectories(states: Sequence[Float[Tensor, "*units d"]]) -> dict[Trajectory, float]:
    """Which share of the units comes to rest, goes round, or does neither.

    Args:
        states: after loops that follow each other, at least `LONGEST + 1` of them; the last ones count.

    Returns:
        Shares that add up to one. "fixed point": the last loop changes a unit by less than `SETTLED`.
        "orbit": it does not, and some loops later, `LONGEST` at most, it is back where it was, but for a
        tenth of a step. "drift": all others.
    """
    last = states[-1]
    moved = step_size(states[-2], last)
    rests = moved < SETTLED
    periods = range(2, min(LONGEST, len(states) - 1) + 1)
    apart = torch.stack([step_size(states[-1 - period], last) for period in periods])
    goes_round = ~rests & (apart.amin(0) < RETURNS * moved)
    known = last.float().norm(dim=-1).isfinite()
    shares = {"fixed point": rests & known, "orbit": goes_round & known}
    found: dict[Trajectory, float] = {
        "fixed point": float(shares["fixed point"].double().mean()),
        "orbit": float(shares["orbit"].double().mean()),
    }
    found["drift"] = 1 - found["fixed point"] - found["orbit"]
    return found


def period(states: Sequence[Float[Tensor, "*units d"]]) -> int:
    """After how many loops the states are nearest to where they were: that of an orbit, 2 to `LONGEST`."""
    last = states[-1]
    periods = range(2, min(LONGEST, len(states) - 1) + 1)
    return min(periods, key=lambda loops: float(step_size(states[-1 - loops], last).mean()))

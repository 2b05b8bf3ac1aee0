"""Actions that come from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from loopverse.errors import UserError

if TYPE_CHECKING:
    from gymnasium import Space


def checked_actions(space: Space, actions: np.ndarray, num: int = 1) -> np.ndarray:
    """Actions of so many rows, of which each is one of the space; a Box is not held to its bounds.

    Raises:
        UserError: another number or shape, a category that there is not, or a number that is not finite.
    """
    expected = (num, *(space.shape or ()))
    if actions.shape != expected:
        raise UserError(
            f"actions must be of shape {list(expected)}, {num} of {space}, got {list(actions.shape)}"
        )
    match space:
        case spaces.Box():
            wrong = ~np.isfinite(actions)
        case spaces.Discrete():
            wrong = (actions < space.start) | (actions >= space.start + space.n)
        case spaces.MultiDiscrete():
            wrong = (actions < space.start) | (actions >= space.start + space.nvec)
        case _:
            wrong = (actions != 0) & (actions != 1)
    if np.any(wrong):
        raise UserError(f"expected actions in {space}, got {actions[wrong][0]}")
    return actions

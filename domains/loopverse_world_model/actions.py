"""Actions as numbers that a network reads and a planner searches among."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from loopverse.errors import UserError
from loopverse_world_model.leaves import one_hot
from loopverse_world_model.spaces import Leaf


class ActionCodec:
    """Raw actions to encoded ones and back.

    A Box is scaled to [-1, 1] per dimension; Discrete and MultiDiscrete become one-hot vectors side by
    side; MultiBinary stays zeros and ones, two categories each to a planner.

    Args:
        leaves: of the action space.

    Attributes:
        width: numbers of an encoded action.
        sizes: how many values each category has; None where actions are continuous.

    Raises:
        UserError: a Box without bounds, or a Dict or Tuple of actions.
    """

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        if len(leaves) != 1 or leaves[0].path != "value":
            raise UserError(
                f"actions made of {len(leaves)} parts cannot be modelled yet: expected one Box, Discrete, "
                "MultiDiscrete or MultiBinary; join them in a gymnasium.ActionWrapper"
            )
        (self.leaf,) = leaves
        self.sizes: tuple[int, ...] | None = None
        if self.leaf.kind == "categories":
            self.sizes = self.leaf.sizes
        elif self.leaf.kind == "bits":
            self.sizes = (2,) * self.leaf.size
        else:
            bounds = [np.array(side, np.float64) for side in (self.leaf.low, self.leaf.high)]
            if not all(np.isfinite(side).all() for side in bounds):
                raise UserError(
                    "actions need bounds to be scaled by, got a Box that is open: give it finite low and "
                    "high, with gymnasium.wrappers.ClipAction or RescaleAction"
                )
            low, high = (np.broadcast_to(side, (self.leaf.size,)) for side in bounds)
            self._middle = torch.tensor((low + high) / 2, dtype=torch.float32)
            self._half = torch.tensor(np.maximum(high - low, 1e-9) / 2, dtype=torch.float32)
        self.width = sum(self.sizes) if self.sizes else self.leaf.size

    def encode(self, raw: Tensor | np.ndarray | Any) -> Float[Tensor, "*batch a"]:
        """Raw actions `[*batch *shape]`, encoded."""
        raw = torch.as_tensor(raw)
        batch = raw.shape[: raw.ndim - len(self.leaf.shape)]
        numbers = raw.reshape(*batch, self.leaf.size)
        if self.sizes is not None:
            return one_hot(numbers.long() - self.leaf.start, self.sizes)
        middle, half = self._middle.to(raw.device), self._half.to(raw.device)
        return (numbers.float() - middle) / half

    def decode(self, encoded: Float[Tensor, "*batch a"]) -> np.ndarray:
        """Encoded actions as the environment takes them; numbers out of bounds are cut off."""
        encoded = encoded.detach().cpu()
        batch = encoded.shape[:-1]
        if self.sizes is not None:
            parts = encoded.split(self.sizes, dim=-1)
            numbers = torch.stack([part.argmax(-1) for part in parts], dim=-1) + self.leaf.start
        else:
            numbers = encoded.float().clamp(-1, 1) * self._half + self._middle
        values = numbers.reshape(*batch, *self.leaf.shape).numpy().astype(self.leaf.dtype)
        return values if self.sizes is not None else self._within(values)

    def _within(self, values: np.ndarray) -> np.ndarray:
        """Rounding must not leave the bounds."""
        low, high = (
            np.broadcast_to(np.array(side, self.leaf.dtype), (self.leaf.size,)).reshape(
                self.leaf.shape
            )
            for side in (self.leaf.low, self.leaf.high)
        )
        return np.clip(values, low, high)

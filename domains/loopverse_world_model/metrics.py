"""Metrics of the world model."""

import torch
import torchmetrics
from torch import Tensor


class RootMeanError(torchmetrics.Metric):
    """The root of the mean of squared errors that come one per transition, with weights."""

    higher_is_better = False
    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "weight"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, squares: Tensor, weights: Tensor) -> None:
        """Take in some transitions.

        Args:
            squares: squared error of each.
            weights: how much each counts.
        """
        self.total += (squares.double() * weights).sum()
        self.weight += weights.double().sum()

    def compute(self) -> Tensor:
        return (self.total / self.weight.clamp(min=1e-12)).sqrt()

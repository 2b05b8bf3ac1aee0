"""A moving average of the weights, which often evaluates better than the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """Exponential moving average of a model's parameters.

    The decay warms up as `min(decay, (1 + step) / (10 + step))`, so that the random start is soon
    forgotten; being a function of the step it is not saved (as in TensorFlow's
    ExponentialMovingAverage with `num_updates`).

    Attributes:
        weights: the average, by parameter name.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(model.named_parameters())
        self.weights = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the parameters as they are after `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        blend = get_ema_multi_avg_fn(decay)
        blend(list(self.weights.values()), list(self._parameters.values()), 0)

    def settle(self) -> None:
        """Give the model the average for good."""
        self._swap()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model computes with the average; outside, with its own weights again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self.weights[name] = self.weights[name], parameter.data

"""MPPI: candidates are weighed by what they bring, softly."""

from dataclasses import dataclass

import torch
from torch import Tensor

from loopverse.errors import UserError
from loopverse_world_model.planning.cem import Gaussian
from loopverse_world_model.planning.planner import LEAST, Plan, Search, World


@dataclass
class MPPI(Gaussian):
    """The mean moves to the average of all candidates, weighed by `exp(value / temperature)`.

    Source: Williams et al. 2017 (model predictive path integral control), with the weights among the
    best candidates alone where `elites` is smaller, as Hansen et al. 2022 (2203.04955) have it.

    Attributes:
        elites: how many of the best are weighed; all of them by default.
        temperature: of the weights, in standard deviations of the values that are weighed, so that it
            means the same whatever the rewards: near 0, the best candidate decides alone.
    """

    elites: int = 200
    temperature: float = 0.3

    def __post_init__(self) -> None:
        self.elites = min(self.elites, self.candidates)
        super().__post_init__()
        if self.temperature <= 0:
            raise UserError(f"temperature must be above 0, got {self.temperature}")

    def _update(self, search: Search, best: Tensor, values: Tensor, world: World) -> Search:
        weights = self._weights(values)
        mean = torch.einsum("ne,neha->nha", weights, best)
        return Search(mean, search.spread)

    def _end(self, search: Search, best: Tensor, values: Tensor, world: World) -> Plan:
        weights = self._weights(values)
        return Plan(search.center, (weights * values).sum(1), Search(search.center))

    def _weights(self, values: Tensor) -> Tensor:
        """Adding up to one; what is not finite weighs nothing."""
        known = values > LEAST
        count = known.sum(1, keepdim=True).clamp(min=1)
        zeroed = torch.where(known, values, 0)
        mean = zeroed.sum(1, keepdim=True) / count
        spread = (torch.where(known, values - mean, 0).square().sum(1, keepdim=True) / count).sqrt()
        scaled = (values - values[:, :1]) / (self.temperature * spread).clamp(min=1e-9)
        return torch.softmax(scaled, dim=1)

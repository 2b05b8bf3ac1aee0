"""The cross-entropy method: candidates are normal numbers around the mean of the best."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from loopverse.errors import UserError
from loopverse_world_model.planning.dice import Dice
from loopverse_world_model.planning.planner import Plan, Planner, Search, World, at_least, moved_on


@dataclass
class Gaussian(Planner):
    """What planners for numbers share: a mean and a deviation for each step, in [-1, 1].

    Attributes:
        spread: standard deviation of the first candidates of a step.
    """

    spread: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spread <= 0:
            raise UserError(f"spread must be above 0, got {self.spread}")

    def _begin(self, world: World, dice: Dice, before: Search | None) -> Search:
        mean = torch.zeros(len(dice), self.horizon, world.width, device=dice.device)
        if before is not None:
            moved = moved_on(before.center, 1)
            mean = moved if before.warm is None else torch.where(_rows(before.warm, 3), moved, mean)
        return Search(mean, torch.full_like(mean, self.spread))

    def _draw(self, search: Search, world: World, dice: Dice, number: int) -> Tensor:
        noise = self._noise(dice, self._count(number), world.width)
        assert search.spread is not None
        return (search.center[:, None] + search.spread[:, None] * noise).clamp_(-1, 1)

    def _noise(self, dice: Dice, count: int, width: int) -> Float[Tensor, "n k h a"]:
        return dice.normal(count, self.horizon, width)

    def _count(self, number: int) -> int:
        """Candidates of iteration `number`."""
        return self.candidates


@dataclass
class CEM(Gaussian):
    """Mean and deviation of the elites become those of the next candidates; the last mean is done.

    Source: Rubinstein & Kroese 2004; for planning with learned dynamics, Chua et al. 2018
    (1805.12114), whose search keeps part of the mean and the deviation before.

    Attributes:
        momentum: share of the mean and the deviation before that is kept, in [0, 1).
    """

    momentum: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("momentum", self.momentum, 0)
        if self.momentum >= 1:
            raise UserError(
                f"momentum must be below 1, or nothing is learnt from candidates, got {self.momentum}"
            )

    def _update(self, search: Search, best: Tensor, values: Tensor, world: World) -> Search:
        assert search.spread is not None
        mean = best.mean(1).lerp_(search.center, self.momentum)
        spread = best.std(1, correction=0).lerp_(search.spread, self.momentum)
        return Search(mean, spread)

    def _end(self, search: Search, best: Tensor, values: Tensor, world: World) -> Plan:
        return Plan(search.center, values.mean(1), Search(search.center))


def _rows(warm: Tensor, dims: int) -> Tensor:
    return warm.view(-1, *[1] * (dims - 1))

"""iCEM: a cross-entropy search that forgets less and needs fewer candidates."""

from dataclasses import dataclass

import torch
from torch import Tensor

from loopverse.errors import UserError
from loopverse_world_model.planning.cem import CEM
from loopverse_world_model.planning.dice import Dice, coloured
from loopverse_world_model.planning.planner import Plan, Search, World, at_least, moved_on


@dataclass
class ICEM(CEM):
    """CEM with coloured noise, elites that are kept, fewer candidates each time; the best is done.

    Elites of the iteration before compete again, and those of the environment's step before, moved on
    by one step, in the first iteration. The mean is one of the candidates of the last one. Kept elites
    and the mean take the place of other candidates, so that `candidates` is what is imagined.
    Source: Pinneri et al. 2020 (2008.06389).

    Attributes:
        colour: how much the power of the noise falls with frequency, `1 / f^colour`: 0 is white, higher
            ones wander farther. The paper's range is 0.25 to 4.
        decay: every iteration draws so many times fewer candidates, down to twice the elites.
        keep: share of the elites that compete again.
    """

    colour: float = 2.0
    decay: float = 1.25
    keep: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("colour", self.colour, 0)
        at_least("decay", self.decay, 1)
        if not 0 <= self.keep <= 1:
            raise UserError(f"keep must be in [0, 1], got {self.keep}")

    def _count(self, number: int) -> int:
        least = min(2 * self.elites, self.candidates)
        return max(least, int(self.candidates / self.decay**number))

    @property
    def num_kept(self) -> int:
        """Elites that compete again."""
        return int(self.keep * self.elites)

    def _noise(self, dice: Dice, count: int, width: int) -> Tensor:
        return coloured(super()._noise(dice, count, width), self.colour)

    def _begin(self, world: World, dice: Dice, before: Search | None) -> Search:
        search = super()._begin(world, dice, before)
        if before is not None and before.kept is not None:
            search.kept, search.warm = moved_on(before.kept, 2), before.warm
        return search

    def _draw(self, search: Search, world: World, dice: Dice, number: int) -> Tensor:
        drawn = super()._draw(search, world, dice, number)
        if number == self.iterations - 1:
            drawn[:, -1] = search.center
        if search.kept is not None and search.kept.shape[1] > 0:
            count = min(search.kept.shape[1], drawn.shape[1] - 1)
            kept, places = search.kept[:, :count], drawn[:, :count]
            if search.warm is not None:
                kept = torch.where(search.warm[:, None, None, None], kept, places)
            drawn[:, :count] = kept
        return drawn

    def _update(self, search: Search, best: Tensor, values: Tensor, world: World) -> Search:
        after = super()._update(search, best, values, world)
        after.kept = best[:, : self.num_kept]
        return after

    def _end(self, search: Search, best: Tensor, values: Tensor, world: World) -> Plan:
        return Plan(best[:, 0], values[:, 0], Search(search.center, kept=search.kept))

"""The cross-entropy method for actions that are categories."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from loopverse.errors import UserError
from loopverse_world_model.planning.dice import Dice, coloured
from loopverse_world_model.planning.planner import Plan, Planner, Search, World, at_least


@dataclass
class CategoricalCEM(Planner):
    """Draws each category of each step by its share among the elites; the most frequent is done.

    For Discrete, MultiDiscrete and MultiBinary actions. Source: the cross-entropy method for discrete
    problems, de Boer et al. 2005, section 3.2, whose smoothing this is.

    Attributes:
        momentum: share of the probabilities before that is kept, in [0, 1).
        floor: of the probabilities, so much is shared out evenly: nothing is ever ruled out.
        renew: of the probabilities of the step before, so much is forgotten when a search begins.
        colour: how much the choices of consecutive steps hang together: 0 not at all, higher ones hold
            a choice for longer; see `ICEM`.
    """

    momentum: float = 0.1
    floor: float = 0.05
    renew: float = 0.5
    colour: float = 0.0

    discrete = True

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("colour", self.colour, 0)
        for name in ("momentum", "floor", "renew"):
            given, last = getattr(self, name), name != "renew"
            if not (0 <= given < 1 or (given == 1 and not last)):
                bracket = ")" if last else "]"
                raise UserError(f"{name} must be in [0, 1{bracket}, got {given}")

    def _begin(self, world: World, dice: Dice, before: Search | None) -> Search:
        even = _even(world).to(dice.device).expand(len(dice), self.horizon, -1, -1)
        if before is None:
            return Search(even)
        moved = torch.cat([before.center[:, 1:], even[:, -1:]], 1).lerp(even, self.renew)
        if before.warm is not None:
            moved = torch.where(before.warm[:, None, None, None], moved, even)
        return Search(moved)

    def _draw(self, search: Search, world: World, dice: Dice, number: int) -> Tensor:
        assert world.sizes is not None
        white = dice.normal(self.candidates, self.horizon, len(world.sizes))
        # The share of the normal distribution below a number is a uniform number, as coloured as it.
        level = torch.special.ndtr(coloured(white, self.colour))[..., None]  # [n k h c 1]
        bounds = search.center.cumsum(-1)[:, None, ..., :-1]  # [n 1 h c m-1]
        number_of = (level >= bounds).sum(-1)  # [n k h c]
        sizes = torch.tensor(world.sizes, device=number_of.device)
        number_of = torch.minimum(number_of, sizes - 1)  # rounding: beyond the last one
        hot = torch.nn.functional.one_hot(number_of, max(world.sizes)).to(white.dtype)
        return _without_padding(hot, world)

    def _update(self, search: Search, best: Tensor, values: Tensor, world: World) -> Search:
        even = _even(world).to(best.device)
        share = _padded(best.mean(1), world).lerp(search.center, self.momentum)
        return Search(share.lerp(even, self.floor))

    def _end(self, search: Search, best: Tensor, values: Tensor, world: World) -> Plan:
        chosen = search.center.argmax(-1)
        hot = torch.nn.functional.one_hot(chosen, search.center.shape[-1]).to(best.dtype)
        return Plan(_without_padding(hot, world), values.mean(1), Search(search.center))


def _even(world: World) -> Float[Tensor, "c m"]:
    """The same probability for each value of a category; 0 where it has fewer than the largest."""
    assert world.sizes is not None
    sizes = torch.tensor(world.sizes)[:, None]
    return (torch.arange(max(world.sizes)) < sizes) / sizes


def _without_padding(
    padded: Float[Tensor, "*batch c m"], world: World
) -> Float[Tensor, "*batch a"]:
    """The values of each category, side by side."""
    assert world.sizes is not None
    if len(set(world.sizes)) == 1:
        return padded.flatten(-2)
    return torch.cat([padded[..., i, :size] for i, size in enumerate(world.sizes)], -1)


def _padded(flat: Float[Tensor, "*batch a"], world: World) -> Float[Tensor, "*batch c m"]:
    """The inverse."""
    assert world.sizes is not None
    largest = max(world.sizes)
    parts = flat.split(world.sizes, dim=-1)
    return torch.stack(
        [
            torch.nn.functional.pad(part, (0, largest - size))
            for part, size in zip(parts, world.sizes, strict=True)
        ],
        -2,
    )

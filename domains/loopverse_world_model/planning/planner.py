"""What all planners share: candidates are imagined, valued, and searched among."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from loopverse.errors import UserError
from loopverse_world_model.planning.dice import Dice

SHORTLIST = 2
"""Elites are chosen among so many times their number, where they are imagined again with more loops."""
LEAST = -1e30
"""The value of a plan of which something imagined is no finite number."""


@runtime_checkable  # beartype, which checks shapes in tests, asks for it
class Rows(Protocol):
    """What is remembered of each row: of a model, or of anything else that can be planned with."""

    def repeat(self, times: int, /) -> Any:
        """Each row so many times in a row."""
        ...


@runtime_checkable
class Imagine(Protocol):
    """One step, in every row."""

    def __call__(
        self, memory: Any, actions: Float[Tensor, "m a"], /
    ) -> tuple[Any, Float[Tensor, " m"], Float[Tensor, " m"]]:
        """The memory after encoded actions, the expected reward, the probability to go on."""
        ...


@dataclass
class World:
    """What is planned in.

    Attributes:
        imagine: one step, as candidates are imagined.
        width: numbers of an encoded action.
        sizes: how many values each category of it has; None: numbers in [-1, 1].
        carefully: one step, as the best candidates are imagined again; None: they are not.
        terminal_value: the return to be expected after the end of a plan, of each row; None: it is unknown.
    """

    imagine: Imagine
    width: int
    sizes: tuple[int, ...] | None = None
    carefully: Imagine | None = None
    terminal_value: Callable[[Any], Float[Tensor, " m"]] | None = None


@dataclass
class Search:
    """Where a search stands, in a planner's own terms; the next step of an episode begins there.

    Attributes:
        center: what candidates are drawn around, `[n h ...]`.
        spread: how far around it; None: the planner's setting.
        kept: the best candidates, best first, `[n e h a]`; None: none are kept.
        warm: whether the row goes on from an earlier step; the others begin anew.
    """

    center: Float[Tensor, "n h *shape"]
    spread: Float[Tensor, "n h a"] | None = None
    kept: Float[Tensor, "n e h a"] | None = None
    warm: Bool[Tensor, " n"] | None = None

    def take(self, index: Int[Tensor, " m"], warm: Bool[Tensor, " m"]) -> "Search":
        """Some of the rows, and which of them go on."""
        parts = {"center": self.center, "spread": self.spread, "kept": self.kept}
        taken = {name: None if part is None else part[index] for name, part in parts.items()}
        return replace(self, **taken, warm=warm)


@dataclass
class Plan:
    """What came of a search.

    Attributes:
        actions: encoded, of which the first are to be done now, `[n h a]`.
        value: what they are expected to bring, `[n]`.
        search: where to go on.
    """

    actions: Float[Tensor, "n h a"]
    value: Float[Tensor, " n"]
    search: Search


@dataclass
class Planner(ABC):
    """Draws candidates, imagines them, draws the next ones nearer to the best, several times.

    Attributes:
        horizon: steps that are imagined.
        candidates: plans that are imagined in each iteration.
        iterations: how often candidates are drawn.
        elites: how many of the best decide where the next ones are drawn.
        discount: what the reward of a step counts less than that of the step before it, in (0, 1].
        loops: with which candidates are imagined; 0: as many as in training.
        elite_loops: with which the best are imagined again, and chosen among; 0: they are not.
    """

    horizon: int = 15
    candidates: int = 200
    iterations: int = 5
    elites: int = 20
    discount: float = 1.0
    loops: int = 0
    elite_loops: int = 0

    discrete: ClassVar[bool] = False
    """Whether it chooses among categories, and not among numbers in [-1, 1]."""

    def __post_init__(self) -> None:
        for name in ("horizon", "candidates", "iterations", "elites"):
            at_least(name, getattr(self, name), 1)
        for name in ("loops", "elite_loops"):
            at_least(name, getattr(self, name), 0)
        if self.elites > self.candidates:
            raise UserError(
                f"elites must be at most the number of candidates, {self.candidates}, got "
                f"{self.elites}"
            )
        if not 0 < self.discount <= 1:
            raise UserError(f"discount must be in (0, 1], got {self.discount}")

    def plan(self, world: World, memory: Rows, dice: Dice, before: Search | None = None) -> Plan:
        """Search for what to do in every row.

        Args:
            world: what to plan in.
            memory: of the rows.
            dice: of the rows.
            before: where the search of the step before ended; it is moved on by one step.

        Raises:
            UserError: a planner for categories and actions that are numbers, or the reverse.
        """
        self.check(world.sizes)
        with torch.inference_mode():
            search = self._begin(world, dice, before)
            best, values = None, None
            for number in range(self.iterations):
                tried = self._draw(search, world, dice, number)
                best, values = self._best(tried, world, memory)
                search = self._update(search, best, values, world)
            assert best is not None  # there is at least one iteration
            assert values is not None
            return self._end(search, best, values, world)

    def check(self, sizes: tuple[int, ...] | None) -> None:
        """Refuse actions that this planner cannot choose.

        Raises:
            UserError: what they are, and which planner to use.
        """
        if self.discrete and sizes is None:
            raise UserError(
                f"{type(self).__name__} chooses among categories, and the actions are numbers: use "
                "planner icem, cem or mppi"
            )
        if not self.discrete and sizes is not None:
            raise UserError(
                f"{type(self).__name__} chooses numbers, and the actions are categories of {sizes} "
                "values: use planner categorical"
            )

    @abstractmethod
    def _begin(self, world: World, dice: Dice, before: Search | None) -> Search:
        """Where to search first: beside where the search before ended, one step on."""

    @abstractmethod
    def _draw(
        self, search: Search, world: World, dice: Dice, number: int
    ) -> Float[Tensor, "n k h a"]:
        """The candidates of iteration `number`."""

    @abstractmethod
    def _update(
        self,
        search: Search,
        best: Float[Tensor, "n e h a"],
        values: Float[Tensor, "n e"],
        world: World,
    ) -> Search:
        """Where to search next, from the best candidates, best first."""

    @abstractmethod
    def _end(
        self,
        search: Search,
        best: Float[Tensor, "n e h a"],
        values: Float[Tensor, "n e"],
        world: World,
    ) -> Plan:
        """What to do, from the best candidates of the last iteration."""

    def _best(
        self, tried: Float[Tensor, "n k h a"], world: World, memory: Rows
    ) -> tuple[Float[Tensor, "n e h a"], Float[Tensor, "n e"]]:
        """The elites, best first, and their values."""
        values = value(world.imagine, memory, tried, self.discount, world.terminal_value)
        if world.carefully is None:
            return _top(tried, values, self.elites)
        shortlist, _ = _top(tried, values, min(SHORTLIST * self.elites, tried.shape[1]))
        values = value(world.carefully, memory, shortlist, self.discount, world.terminal_value)
        return _top(shortlist, values, self.elites)


def value(
    imagine: Imagine,
    memory: Rows,
    actions: Float[Tensor, "n k h a"],
    discount: float,
    terminal_value: Callable[[Any], Tensor] | None = None,
) -> Float[Tensor, "n k"]:
    """What plans are expected to bring: rewards, each times the chance that the episode gets there.

    `sum_t w_t r_t + w_h v`, with `w_t = discount^t prod_{s<t} c_s` and `c` the probability that a step
    does not end the episode: the reward of the step that ends it still counts. `v` is the terminal
    value, if there is one.
    """
    rows, candidates, steps, _ = actions.shape
    memory = memory.repeat(candidates)
    by_step = actions.permute(2, 0, 1, 3).reshape(steps, rows * candidates, -1)
    memory, total, weight = imagine(memory, by_step[0])
    for action in by_step[1:].unbind():
        weight = weight if discount == 1 else weight * discount
        memory, reward, going = imagine(memory, action)
        total = torch.addcmul(total, weight, reward)
        weight = weight * going
    if terminal_value is not None:
        total = torch.addcmul(total, weight, terminal_value(memory), value=discount)
    return torch.where(total.isfinite(), total, LEAST).view(rows, candidates)


def moved_on(plans: Float[Tensor, "n *k h a"], dim: int) -> Float[Tensor, "n *k h a"]:
    """Plans without their first step, whose last step is done once more."""
    last = plans.narrow(dim, plans.shape[dim] - 1, 1)
    return torch.cat([plans.narrow(dim, 1, plans.shape[dim] - 1), last], dim)


def at_least(name: str, given: float, least: float) -> None:
    """Refuse a setting of a planner that is too small.

    Raises:
        UserError: it is.
    """
    if given < least:
        raise UserError(f"{name} must be at least {least}, got {given}")


def _top(
    plans: Float[Tensor, "n k h a"], values: Float[Tensor, "n k"], count: int
) -> tuple[Float[Tensor, "n e h a"], Float[Tensor, "n e"]]:
    count = min(count, values.shape[1])
    best, index = values.topk(count, dim=1)
    rows = torch.arange(len(values), device=values.device)[:, None]
    return plans[rows, index], best

"""Who acts while episodes are collected: chance, a function of the user's, or later a planner."""

from __future__ import annotations

import copy
import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from loopverse.errors import UserError
from loopverse_world_model.seeds import seed_of

if TYPE_CHECKING:
    from gymnasium import Space


@dataclass
class Rows:
    """Environments side by side, as a policy is told of them.

    Attributes:
        episode: number of the episode that each row plays; -1 where there is none left to play, and
            whatever is done there is thrown away.
        step: transitions since it began; 0 says that the row begins an episode, and that what was
            remembered of the one before is void.
    """

    episode: Int[np.ndarray, " n"]
    step: Int[np.ndarray, " n"]


class Policy(ABC):
    """Chooses actions for environments that run side by side.

    What it remembers goes in and comes out, so that one policy serves any number of players. For
    episodes that are the same however many run side by side, an action must depend on its own row only.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What the index of a replay calls it; what it depends on belongs in it."""

    @abstractmethod
    def act(self, observations: Any, rows: Rows, memory: Any) -> tuple[Any, Any]:
        """Actions `[n ...]` as the environment takes them, and what to remember.

        Args:
            observations: raw, as a vector environment gives them: `[n ...]`, in dicts and tuples of
                these where the space is one.
            rows: what each row plays.
            memory: what the last call returned; None before the first.
        """


class RandomPolicy(Policy):
    """Actions drawn from the action space, by a generator for each episode.

    Args:
        action_space: of one environment.
        seed: with the number of an episode, decides its actions.
        repeat: an action is held for 1 to so many steps, drawn anew each time. Held actions wander
            farther: noise that changes at every step averages out.

    Raises:
        UserError: `repeat` is below 1.
    """

    def __init__(self, action_space: Space, seed: int, repeat: int = 1) -> None:
        if repeat < 1:
            raise UserError(f"a random action is held for at least 1 step, got {repeat}")
        self.action_space, self.seed, self.repeat = action_space, seed, repeat

    @property
    def name(self) -> str:
        return "random" if self.repeat == 1 else f"random, held up to {self.repeat} steps"

    def act(self, observations: Any, rows: Rows, memory: Any) -> tuple[Any, Any]:
        dice: list[Any] = [*memory] if memory else [None] * len(rows.step)
        for row in np.flatnonzero(rows.step == 0):
            dice[row] = _Die(
                self.action_space, seed_of(self.seed, "policy", int(rows.episode[row]))
            )
        return np.stack([die.roll(self.repeat) for die in dice]), dice


class _Die:
    """Draws the actions of one episode."""

    def __init__(self, action_space: Space, seed: int) -> None:
        self.space = copy.deepcopy(action_space)
        self.space.seed(seed)
        self.holds = np.random.default_rng(seed)
        self.action, self.left = None, 0

    def roll(self, repeat: int) -> Any:
        if self.left == 0:
            self.action = self.space.sample()
            self.left = int(self.holds.integers(1, repeat + 1)) if repeat > 1 else 1
        self.left -= 1
        return self.action


class Scripted(Policy):
    """A function of the user's: `function(observation, rng) -> action`, called for every row.

    `rng` is a numpy generator of the episode's own.

    Args:
        source: `module:function`.
        observation_space: of one environment.
        action_space: of one environment.
        seed: with the number of an episode, decides its generator.

    Raises:
        UserError: there is no such function, or it cannot be called so.
    """

    def __init__(
        self, source: str, observation_space: Space, action_space: Space, seed: int
    ) -> None:
        self.source, self.seed = source, seed
        self.observation_space, self.action_space = observation_space, action_space
        self.function = _find(source)

    @property
    def name(self) -> str:
        return self.source

    def act(self, observations: Any, rows: Rows, memory: Any) -> tuple[Any, Any]:
        from gymnasium.vector.utils import batch_space, iterate

        rngs: list[Any] = [*memory] if memory else [None] * len(rows.step)
        for row in np.flatnonzero(rows.step == 0):
            rngs[row] = np.random.default_rng(seed_of(self.seed, "policy", int(rows.episode[row])))
        batched = batch_space(self.observation_space, len(rows.step))
        pairs = zip(iterate(batched, observations), rngs, strict=True)
        actions = [self._checked(self.function(observation, rng)) for observation, rng in pairs]
        return np.stack(actions), rngs

    def _checked(self, action: Any) -> np.ndarray:
        """The action in the type of its space."""
        try:
            array = np.asarray(action)
            fits = np.can_cast(array.dtype, self.action_space.dtype or array.dtype, "same_kind")
            array = array.astype(self.action_space.dtype) if fits else array
            # A Discrete wants a number and not an array without axes.
            fits = fits and self.action_space.contains(array[()] if array.ndim == 0 else array)
        except (TypeError, ValueError):
            fits, array = False, np.empty(0)
        if not fits:
            raise UserError(
                f"the policy {self.source!r} returned {action!r}, expected an action of "
                f"{self.action_space}"
            )
        return array


def policy_of(
    source: str, observation_space: Space, action_space: Space, *, seed: int, repeat: int = 1
) -> Policy:
    """The policy that a setting names: `random`, or `module:function`.

    Raises:
        UserError: as `RandomPolicy` and `Scripted`.
    """
    if source == "random":
        return RandomPolicy(action_space, seed, repeat)
    return Scripted(source, observation_space, action_space, seed)


def text_of(source: str) -> str:
    """The module that a policy is defined in, as it is written, so that a changed one is told apart."""
    if source == "random":
        return ""
    module = inspect.getmodule(_find(source))
    try:
        return inspect.getsource(module) if module else ""
    except (OSError, TypeError):  # compiled, or typed in
        return ""


def _find(source: str) -> Callable[[Any, np.random.Generator], Any]:
    module_name, _, name = source.partition(":")
    if not (module_name and name):
        raise UserError(
            f"a policy is `random` or module:function, such as my_policies:balance, got {source!r}"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the policy {source!r} cannot be imported: {error}; Python finds modules that are "
            "installed, and those in the folders of PYTHONPATH"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"{module_name!r} has no function {name!r} to be a policy")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise UserError(
            f"the policy {source!r} must be called with an observation and a random generator, "
            f"function(observation, rng) -> action; it takes {inspect.signature(function)}"
        ) from error
    return function

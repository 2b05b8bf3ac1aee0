"""One episode, as it was played or read, and what must be true of it before it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loopverse.errors import UserError
from loopverse_world_model.spaces import Leaf

REWARD = Leaf("reward", "vector", (), "float32")


@dataclass(frozen=True)
class Episode:
    """What the index of a replay says of an episode.

    Attributes:
        number: from 0, in the order of the replay.
        length: transitions.
        total: the sum of its rewards, its return.
        terminated: whether it ended in a terminal state, and was not cut off.
        policy: who acted.
        seed: that the environment was reset with; -1 where that is not known.
        environment: that it was played in; empty where that is not known.
    """

    number: int
    length: int
    total: float
    terminated: bool
    policy: str
    seed: int = -1
    environment: str = ""


@dataclass
class Recording:
    """The steps of one episode of `t` transitions, raw.

    Attributes:
        observation: by leaf, `[t+1 ...]`.
        action: `[t ...]`.
        reward: what followed each action, `[t]`.
        terminated: whether the last action led to a terminal state.
        policy: who acted.
        seed: that the environment was reset with; -1 where that is not known.
        environment: that it was played in; empty where that is not known.
    """

    observation: dict[str, np.ndarray]
    action: np.ndarray
    reward: np.ndarray
    terminated: bool
    policy: str
    seed: int = -1
    environment: str = ""

    def entry(self, number: int) -> Episode:
        """What the index says of it."""
        total = float(self.reward.astype(np.float64).sum())
        told = (self.policy, self.seed, self.environment)
        return Episode(number, len(self.reward), total, self.terminated, *told)

    def check(self, observed: Sequence[Leaf], acted: Leaf, where: str) -> None:
        """Refuse what could not be learnt from.

        Args:
            observed: leaves of the observation space.
            acted: the leaf of the action space.
            where: what errors call the episode.

        Raises:
            UserError: numbers that are not finite, categories out of range, or arrays of other shapes.
        """
        steps = len(self.reward)
        if steps == 0:
            raise UserError(f"{where} has no transitions, expected at least 1: leave it out")
        paths = [leaf.path for leaf in observed]
        if sorted(self.observation) != sorted(paths):
            raise UserError(
                f"{where} observes {sorted(self.observation)}, expected {sorted(paths)}"
            )
        _check("reward", self.reward, REWARD, steps, where)
        _check("action", self.action, acted, steps, where)
        for leaf in observed:
            name = "observation" if leaf.path == "value" else f"observation {leaf.path!r}"
            _check(name, self.observation[leaf.path], leaf, steps + 1, where)


def _check(name: str, values: np.ndarray, leaf: Leaf, count: int, where: str) -> None:
    if values.shape != (count, *leaf.shape):
        raise UserError(
            f"the {name} of {where} has shape {list(values.shape)}, expected {[count, *leaf.shape]}: "
            "an episode has as many actions as rewards, and one observation more"
        )
    flat = values.reshape(count, -1)
    if leaf.kind in ("categories", "bits"):
        sizes = np.array(leaf.sizes or 2)
        right = (flat >= leaf.start) & (flat < leaf.start + sizes) & (flat == np.floor(flat))
        expected = f"one of {'2' if leaf.kind == 'bits' else leaf.sizes} values from {leaf.start}"
    elif not np.can_cast(values.dtype, leaf.dtype, "same_kind"):
        raise UserError(
            f"the {name} of {where} is {values.dtype}, expected {leaf.dtype}: convert it, or give "
            "another space"
        )
    else:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is found
            right = np.isfinite(flat.astype(leaf.dtype, copy=False))
        expected = "a finite number"
    if not right.all():
        step, place = np.argwhere(~right)[0]
        raise UserError(
            f"the {name} of {where} at step {step} is {flat[step, place]}, expected {expected}: "
            "mend where it comes from, or leave such episodes out"
        )

"""How the learning rate moves over a run: the group `rate`."""

import math
from dataclasses import dataclass


@dataclass
class Rate:
    """Shapes the learning rate over a run. Subclasses are the options of the group `rate`."""

    def factor(self, step: int, steps: int) -> float:
        """What every peak learning rate is multiplied with at `step` of `steps`, in [0, 1].

        A pure function of the step: nothing about it is saved.
        """
        raise NotImplementedError


@dataclass
class Cosine(Rate):
    """Linear warm-up, then half a cosine down to a floor (Loshchilov & Hutter 2017, 1608.03983).

    Attributes:
        warmup: share of the run that warms up, in [0, 1).
        floor: factor at the end, in [0, 1].
    """

    warmup: float = 0.05
    floor: float = 0.1

    def __post_init__(self) -> None:
        _check_shares(self.warmup, 0.0, self.floor)

    def factor(self, step: int, steps: int) -> float:
        warm = math.ceil(self.warmup * steps)
        if step < warm:
            return (step + 1) / (warm + 1)
        down = (step - warm) / max(1, steps - warm)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * down)) / 2


@dataclass
class Trapezoid(Rate):
    """Linear warm-up, a plateau, and a linear cool-down (Hägele et al. 2024, 2405.18392).

    Attributes:
        warmup: share of the run that warms up, in [0, 1).
        cooldown: share of the run that cools down, in [0, 1).
        floor: factor at the end, in [0, 1].
    """

    warmup: float = 0.05
    cooldown: float = 0.2
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check_shares(self.warmup, self.cooldown, self.floor)

    def factor(self, step: int, steps: int) -> float:
        warm = math.ceil(self.warmup * steps)
        cool = math.ceil(self.cooldown * steps)
        up = (step + 1) / (warm + 1)
        down = (steps - step) / (cool + 1)
        return min(up, 1.0, self.floor + (1 - self.floor) * down)


def _check_shares(warmup: float, cooldown: float, floor: float) -> None:
    if min(warmup, cooldown) < 0 or warmup + cooldown >= 1:
        raise ValueError(
            "rate.warmup and rate.cooldown are shares of the run and must add up to less than 1, "
            f"got {warmup} and {cooldown}"
        )
    if not 0 <= floor <= 1:
        raise ValueError(f"rate.floor must be in [0, 1], got {floor}")

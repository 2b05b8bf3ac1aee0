"""A sampler that masks tokens again, so that later ones can correct earlier ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from loopverse.text import Draws
from loopverse_masked_diffusion.sampling.blocks import Stage
from loopverse_masked_diffusion.sampling.sampler import Moves, Scheduled, Scores

Remask = Callable[[Float[Tensor, "b 1"], float, Stage], Float[Tensor, "b t"]]
"""From the greatest probability of remasking that keeps the noise levels, `eta` and the stage: the
probability for each place, masked or not."""


def cap(limit: Float[Tensor, "b 1"], eta: float, stage: Stage) -> Float[Tensor, "b t"]:
    """The same at all noise levels, as far as possible."""
    return limit.clamp(max=eta).expand(stage.open.shape)


def rescale(limit: Float[Tensor, "b 1"], eta: float, stage: Stage) -> Float[Tensor, "b t"]:
    """A share of what is possible."""
    return (limit * eta).expand(stage.open.shape)


def conf(limit: Float[Tensor, "b 1"], eta: float, stage: Stage) -> Float[Tensor, "b t"]:
    """A share of what is possible, spread over the tokens: more where they were less certain.

    Tokens that were given, and masks, have none.
    """
    committed = stage.places & ~stage.open & stage.certainty.isfinite()
    doubt = (-stage.certainty.double()).masked_fill(~committed, -torch.inf)
    return limit * eta * doubt.softmax(dim=1).nan_to_num(0.0)  # nan: nothing is committed


REMASKS: dict[str, Remask] = {"cap": cap, "rescale": rescale, "conf": conf}


@dataclass(kw_only=True)
class Remasking(Scheduled):
    """ReMDM (Wang et al. 2503.00307): from t to s, tokens are masked again with probability sigma.

    As many more masks are revealed as makes up for it, so that the share of masks at every
    noise level is that of `Ancestral`, which this is at `eta` 0. Only `conf` leaves that to the
    following steps, as the authors' code does, and it reads `eta` as a factor (theirs: 1).

    Attributes:
        eta: in [0, 1]; the greatest sigma (`cap`), or the share of what is possible.
        schedule: `cap`, `rescale` or `conf`: by what each token was when it was committed.
    """

    eta: float = 0.04
    schedule: str = "rescale"

    revisits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be in [0, 1], got {self.eta}")
        if self.schedule not in REMASKS:
            raise ValueError(f"schedule must be one of {', '.join(REMASKS)}, got {self.schedule!r}")

    def moves(self, scores: Scores, stage: Stage, draws: Draws) -> Moves:
        _, after = self.clock(stage)
        time, after = stage.time[:, None], after[:, None]  # [b 1]
        limit = (after / (1 - time)).nan_to_num(0.0).clamp(max=1)  # nan: 0 / 0, one step for all
        sigma = REMASKS[self.schedule](limit, self.eta, stage)  # [b t]
        chance = (time - after + sigma * (1 - time)) / time
        reveal = stage.open & (draws.at(stage.rows, stage.open) < chance)
        committed = stage.places & ~stage.open & (sigma > 0)
        hide = committed & (draws.at(stage.rows, committed) < sigma)
        return Moves(reveal, after[:, 0], hide)

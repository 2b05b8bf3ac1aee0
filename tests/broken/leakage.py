"""Broken views: of other rows, later units, targets, padding."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.distributions import Categorical
from walk import Walk

from broken.planted import found_by
from loopverse import Attend

ROWS = "rows_are_independent"
AHEAD = "causal_predictions_do_not_read_ahead"
PADDING = "padding_counts_nothing_and_is_not_read"


@found_by(ROWS, "row 0 alone to have the losses", "no statistics over rows")
class CentresOverTheBatch(Walk):
    def vectors(self, batch: TensorDict) -> Tensor:
        x = super().vectors(batch)
        return x - x.mean(0)


@found_by(AHEAD, "predictions before position 3 to stay", "at position 2", "shift by one")
class ReadsItsTarget(Walk):
    def vectors(self, batch: TensorDict) -> Tensor:
        return self.read(batch["places"][:, 1:])


@found_by(AHEAD, "at positions 0, 1, 2", "predict mixes positions")
class SumsBackwards(Walk):
    def predict(self, z: Tensor) -> Categorical:
        return super().predict(z + z.flip(1).cumsum(1).flip(1))

    def attend(self, batch: TensorDict) -> Attend:
        return Attend(causal=True)


@found_by("predictions_do_not_read_their_targets", "goal[:, 3]", "both at position 3", "the answer")
class IsShownItsTarget(Walk):
    def prepare(self, batch: TensorDict, rng: torch.Generator) -> TensorDict:
        return super().prepare(batch, rng).set("goal", batch["places"][:, 1:])

    def vectors(self, batch: TensorDict) -> Tensor:
        return super().vectors(batch) + self.read(batch["goal"])

    def losses(self, prediction: Any, batch: TensorDict) -> Tensor:
        return -prediction.log_prob(batch["goal"])


@found_by(PADDING, "weight 0 where attend.padding is false", "weights = padding.float()")
class CountsPadding(Walk):
    def weights(self, batch: TensorDict) -> Tensor:
        return torch.ones_like(super().weights(batch))


@found_by(PADDING, "weight 0 where attend.padding is false", "true where there IS a unit")
class PaddingUpsideDown(Walk):
    def attend(self, batch: TensorDict) -> Attend:
        return Attend(causal=True, padding=~batch["present"])


@found_by(PADDING, "with noise in place of the padding", "must leave padding out")
class PoolsOverPadding(Walk):
    def attend(self, batch: TensorDict) -> Attend:
        return Attend(causal=False, padding=batch["present"])

    def predict(self, z: Tensor) -> Categorical:
        return super().predict(z + z.mean(1, keepdim=True))

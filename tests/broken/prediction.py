"""Broken shapes, predictions and losses."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal
from torch.nn import functional as F
from walk import PLACES, Walk

from broken.planted import found_by
from loopverse import Attend, CoreInput, Outcome

EMBED = "embed_returns_what_the_core_reads"
PREDICT = "predict_returns_a_distribution_per_unit"
LOSS = "loss_is_one_finite_number_per_unit"


@found_by(EMBED, "CoreInput(x, Attend(...))", "got Tensor", "say who may read whom")
class EmbedsATensor(Walk):
    def embed(self, batch: TensorDict) -> Any:
        return self.vectors(batch)


@found_by(EMBED, "x of shape [4, time, 32]", "got [4, 10, 9]", "into `width` channels")
class ForgetsTheWidth(Walk):
    def vectors(self, batch: TensorDict) -> Tensor:
        return F.one_hot(batch["seen"][:, :-1], PLACES + 1).float()


@found_by(EMBED, "finite x", "not nan but masked")
class ReadsNans(Walk):
    def vectors(self, batch: TensorDict) -> Tensor:
        return super().vectors(batch).masked_fill(~batch["present"][..., None], float("nan"))


@found_by(EMBED, "attend.padding of shape [4, 10], boolean", "torch.float32", "there IS a unit")
class PaddingAsWeights(Walk):
    def attend(self, batch: TensorDict) -> Attend:
        return Attend(causal=True, padding=batch["present"].float())


@found_by(EMBED, "attend.padding of shape [4, 10]", "got [4, 11]", "one value per unit")
class PaddingOfTheTargets(Walk):
    def attend(self, batch: TensorDict) -> Attend:
        return Attend(causal=True, padding=F.pad(batch["present"], (1, 0), value=True))


@found_by(EMBED, "cond of shape [4, 32]", "got [4, 10, 32]", "one condition per row")
class ConditionPerUnit(Walk):
    def embed(self, batch: TensorDict) -> CoreInput:
        x = self.vectors(batch)
        return CoreInput(x, self.attend(batch), cond=x)


@found_by(PREDICT, "a torch.distributions.Distribution", "got Tensor", "Categorical(logits=...)")
class PredictsLogits(Walk):
    def predict(self, z: Tensor) -> Tensor:
        return self.write(z)

    def losses(self, prediction: Any, batch: TensorDict) -> Tensor:
        return F.cross_entropy(prediction.mT, batch["places"][:, 1:], reduction="none")


@found_by(PREDICT, "batch_shape [4, 10]", "got batch_shape [4, 10, 8]", "Independent(")
class EightPredictionsPerUnit(Walk):
    def predict(self, z: Tensor) -> Bernoulli:
        return Bernoulli(logits=self.write(z))

    def losses(self, prediction: Any, batch: TensorDict) -> Tensor:
        return -prediction.log_prob(F.one_hot(batch["places"][:, 1:], PLACES).float()).mean(-1)


@found_by(PREDICT, "finite log_prob of shape [4, 10]", "40 not finite", "scales away from zero")
class CertainOfEverything(Walk):
    def predict(self, z: Tensor) -> Normal:
        mean = self.write(z).mean(-1)
        return Normal(mean, torch.zeros_like(mean), validate_args=False)


@found_by(LOSS, "an Outcome", "got Tensor", "Outcome(losses, weights, prediction=prediction)")
class LosesATensor(Walk):
    def loss(self, prediction: Any, batch: TensorDict) -> Any:
        return self.losses(prediction, batch)


@found_by(LOSS, "losses of shape [4, 10]", "got []", "do not reduce")
class ReducesItsLosses(Walk):
    def losses(self, prediction: Any, batch: TensorDict) -> Tensor:
        return super().losses(prediction, batch).mean()

    def weights(self, batch: TensorDict) -> Tensor:
        return torch.ones(())


@found_by(LOSS, "weights of the shape of losses, [4, 10]", "got [4]", "torch.ones_like(losses)")
class WeighsRows(Walk):
    def weights(self, batch: TensorDict) -> Tensor:
        return torch.ones(len(batch))


@found_by(LOSS, "weights of 0 or more, some above 0", "from 0.0 to 0.0", "teaches nothing")
class CountsNothing(Walk):
    def weights(self, batch: TensorDict) -> Tensor:
        return torch.zeros_like(super().weights(batch))


@found_by(LOSS, "finite losses", "0 * nan is nan")
class NansInThePadding(Walk):
    def losses(self, prediction: Any, batch: TensorDict) -> Tensor:
        losses = super().losses(prediction, batch)
        return losses.masked_fill(~batch["present"], float("nan"))


@found_by(LOSS, "finite loss,", "look at the penalty")
class EndlessPenalty(Walk):
    def loss(self, prediction: Any, batch: TensorDict) -> Outcome:
        outcome = super().loss(prediction, batch)
        return Outcome(outcome.losses, outcome.weights, torch.tensor(float("inf")), prediction)


@found_by("loss_is_deterministic", "the same losses twice", "draw in prepare")
class DrawsInEmbed(Walk):
    def vectors(self, batch: TensorDict) -> Tensor:
        x = super().vectors(batch)
        return x + 0.1 * torch.randn_like(x)


@found_by("loss_is_deterministic", "the same losses twice", "draw in prepare")
class DrawsInLoss(Walk):
    def losses(self, prediction: Any, batch: TensorDict) -> Tensor:
        losses = super().losses(prediction, batch)
        return losses * (torch.rand_like(losses) < 0.5)


@found_by("loss_is_a_mean", "with every row twice", "do not multiply or divide by the size")
class SumsOverRows(Walk):
    def losses(self, prediction: Any, batch: TensorDict) -> Tensor:
        return super().losses(prediction, batch) * len(batch)


@found_by("loss_is_a_mean", "with every row twice", "a penalty is a mean as well")
class SumsItsPenalty(Walk):
    def loss(self, prediction: Categorical, batch: TensorDict) -> Outcome:
        outcome = super().loss(prediction, batch)
        penalty = 0.01 * (prediction.probs.square().sum(-1) * batch["present"]).sum()
        return Outcome(outcome.losses, outcome.weights, penalty, prediction)

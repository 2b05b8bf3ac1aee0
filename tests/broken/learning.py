"""Broken gradients, loops, precision and metrics."""

from typing import Any

import torch
import torchmetrics
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributions import Categorical
from walk import Walk, WalkConfig

from broken.planted import found_by
from loopverse import Outcome, Think

GRADIENTS = "gradients_reach_every_parameter"
LOOPS = "any_number_of_loops_works"
METRIC = "metric_falls_with_the_loss"


@found_by(GRADIENTS, "none at all for adapter.spare.weight", "a parameter that nothing uses")
class SpareParameters(Walk):
    def __init__(self, config: WalkConfig, width: int) -> None:
        super().__init__(config, width)
        self.spare = nn.Linear(width, width)


@found_by(GRADIENTS, "none at all for", "and", "others", "likely a detach")
class DetachesTheState(Walk):
    def predict(self, z: Tensor) -> Categorical:
        return super().predict(z.detach())


@found_by(GRADIENTS, "zero for adapter.scale", "rounding on the way")
class RoundsAParameter(Walk):
    def __init__(self, config: WalkConfig, width: int) -> None:
        super().__init__(config, width)
        self.scale = nn.Parameter(torch.tensor(1.2))

    def vectors(self, batch: TensorDict) -> Tensor:
        return super().vectors(batch) * self.scale.round()


@found_by(GRADIENTS, "a finite gradient of adapter.write.bias", "sqrt, log, norm or division")
class RootOfZero(Walk):
    def loss(self, prediction: Any, batch: TensorDict) -> Outcome:
        outcome = super().loss(prediction, batch)
        root = (0 * self.write.bias.square().sum()).sqrt()
        return Outcome(outcome.losses, outcome.weights, root, prediction)


@found_by(LOOPS, "no error", "RuntimeError at learning.py")
class OneDepthForAll(Walk):
    def forward(self, think: Think, batch: TensorDict) -> Outcome:
        thought = think(self.embed(batch))
        outcomes = [self.loss(self.predict(z), batch) for z in thought.readouts]
        assert thought.result.depth.unique().item() > 0
        return thought.weigh(outcomes)


@found_by(LOOPS, "a finite loss with 3 loops", "got nan", "no particular number of loops")
class TableOfTwoLoops(Walk):
    def forward(self, think: Think, batch: TensorDict) -> Outcome:
        thought = think(self.embed(batch))
        outcome = thought.weigh([self.loss(self.predict(z), batch) for z in thought.readouts])
        known = (thought.result.depth <= 2) | (thought.result.depth != thought.result.depth[0])
        return Outcome(outcome.losses.where(known, torch.nan), outcome.weights, None, None)


@found_by("bf16_is_finite", "no error", "RuntimeError at learning.py", "Index put")
class PutsBf16IntoFp32(Walk):
    def __init__(self, config: WalkConfig, width: int) -> None:
        super().__init__(config, width)
        self.more = nn.Linear(width, width)

    def vectors(self, batch: TensorDict) -> Tensor:
        x, present = super().vectors(batch), batch["present"]
        filled = torch.zeros_like(x)
        filled[present] = self.more(x[present])
        return filled


@found_by("a_repeated_batch_is_learned", "a loss clearly below", "the wrong sign")
class GradientUpsideDown(Walk):
    def losses(self, prediction: Any, batch: TensorDict) -> Tensor:
        losses = super().losses(prediction, batch)
        return 2 * losses.detach() - losses


@found_by(METRIC, "nats_per_step to fall", "not an accuracy")
class AccuracyInDisguise(Walk):
    def measure(
        self, metrics: dict[str, torchmetrics.Metric], outcome: Outcome, batch: TensorDict
    ) -> None:
        assert isinstance(outcome.prediction, Categorical)
        right = outcome.prediction.logits.argmax(-1) == batch["places"][:, 1:]
        metrics[self.metric].update(right.float(), outcome.weights)


@found_by(METRIC, "a finite nats_per_step", "inf before and inf after", "in measure()")
class EndlessMetric(Walk):
    def measure(
        self, metrics: dict[str, torchmetrics.Metric], outcome: Outcome, batch: TensorDict
    ) -> None:
        metrics[self.metric].update(torch.inf)

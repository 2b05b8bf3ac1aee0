"""Broken settings, constructors and metrics."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torchmetrics
from tensordict import TensorDict
from torch import nn
from torchmetrics.classification import MulticlassAccuracy
from walk import PLACES, Walk, WalkConfig

from broken.planted import found_by
from loopverse import CoreInput, DomainAdapter, Outcome

CONFIG = "config_is_a_dataclass_with_defaults"
BUILT = "adapter_is_built_from_its_config_and_a_width"
METRIC = "metric_is_declared_and_lower_is_better"


class PlainConfig:
    length = 10


@found_by(CONFIG, "a class attribute Config that is a dataclass", "PlainConfig", "@dataclass above")
class NoDataclass(Walk):
    Config = PlainConfig


@dataclass
class NeedyConfig:
    length: int


@found_by(CONFIG, "NeedyConfig() to work", "'length'", "give every field a default")
class NoDefaults(Walk):
    Config = NeedyConfig


@dataclass
class LiteralConfig(WalkConfig):
    direction: Literal["left", "right"] = "left"


@found_by(CONFIG, "that Hydra can read", "Literal, Callable and unions of classes are refused")
class UnreadableConfig(Walk):
    Config = LiteralConfig


@dataclass
class DerivingConfig(WalkConfig):
    def __post_init__(self) -> None:
        self.length += 1


@found_by(CONFIG, "to come back from Hydra as it was", "length=12", "derived values in properties")
class DerivedFields(Walk):
    Config = DerivingConfig


@found_by(BUILT, "a subclass of loopverse.DomainAdapter", "Stray")
class Stray:
    Config = WalkConfig


@found_by(BUILT, "batches, embed, predict and loss", "no batches, predict")
class Unfinished(DomainAdapter):
    Config = WalkConfig
    metric = "nats_per_step"

    def embed(self, batch: TensorDict) -> CoreInput:
        raise AssertionError

    def loss(self, prediction: Any, batch: TensorDict) -> Outcome:
        raise AssertionError


@found_by(BUILT, "to know its config and width", "super().__init__(config, width)")
class ForgetsItsConfig(Walk):
    def __init__(self, config: WalkConfig, width: int) -> None:
        nn.Module.__init__(self)


@found_by(BUILT, "expected no error", "TypeError: TakesNoWidth", "whole trace")
class TakesNoWidth(Walk):
    def __init__(self, config: WalkConfig) -> None:
        super().__init__(config, 32)


@found_by("constructor_opens_no_data", "planted.py", "open data in batches")
class OpensData(Walk):
    def __init__(self, config: WalkConfig, width: int) -> None:
        super().__init__(config, width)
        self.size = len((Path(__file__).parent / "planted.py").read_bytes())


@found_by("constructor_opens_no_data", "broken", "save_assets")
class ListsData(Walk):
    def __init__(self, config: WalkConfig, width: int) -> None:
        super().__init__(config, width)
        self.files = sorted(Path(__file__).parent.glob("*.txt"))


@found_by(METRIC, "a class attribute metric that is a name", "'nats per step'")
class MetricWithSpaces(Walk):
    metric = "nats per step"

    def metrics(self) -> dict[str, torchmetrics.Metric]:
        return {self.metric: torchmetrics.MeanMetric()}


@found_by(METRIC, "to hold the headline metric 'nats_per_step'", "got nats", "under that very name")
class OtherMetric(Walk):
    def metrics(self) -> dict[str, torchmetrics.Metric]:
        return {"nats": torchmetrics.MeanMetric()}


@found_by(METRIC, "expected torchmetrics", "nats_per_step = 0.0", "torchmetrics.MeanMetric")
class MetricIsANumber(Walk):
    def metrics(self) -> Any:
        return {self.metric: 0.0}


@found_by(METRIC, "fresh metrics", "the same object twice for nats_per_step", "must not add up")
class KeepsItsMetrics(Walk):
    def __init__(self, config: WalkConfig, width: int) -> None:
        super().__init__(config, width)
        self.kept = {self.metric: torchmetrics.MeanMetric()}

    def metrics(self) -> dict[str, torchmetrics.Metric]:
        return dict(self.kept)


@found_by(METRIC, "of which less is better", "MulticlassAccuracy, of which more is better")
class AccuracyAsHeadline(Walk):
    metric = "accuracy"

    def metrics(self) -> dict[str, torchmetrics.Metric]:
        return {self.metric: MulticlassAccuracy(PLACES)}

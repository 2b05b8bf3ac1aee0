"""What held-out data cost when they are read in several ways: numbers of loops, rules to stop early."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median

import torchmetrics

from loopverse.analysis.statistics import Estimate, estimate
from loopverse.depth.halting.naming import rule_in_words
from loopverse.exhibit import Cell, TableExhibit
from loopverse.model import LoopedModel
from loopverse.training.evaluation import SEED, Measured, Way, held_out

ENOUGH = 16
"""Held-out batches that are wanted, for intervals over half of them."""
Watcher = Callable[[str, Measured], None]
"""Is told the name of a way and what came of a batch."""


@dataclass
class Reading:
    """Held-out data, read in one way.

    Attributes:
        name: of the way.
        settings: of its rule, as they are typed; empty for a fixed depth.
        depth: loops; the most that a unit gets where there is a rule.
        metrics: over all batches at once, by name.
        batches: the headline metric of each batch.
        loops: that a unit got, in each batch; not a number where the domain does not say.
        seconds_per_unit: of a forward pass; the median over batches.
    """

    name: str
    settings: str
    depth: int
    metrics: dict[str, float]
    batches: list[float]
    loops: list[float]
    seconds_per_unit: float


@dataclass
class WayTable:
    """One row per way, on the same held-out batches, so that differences are paired.

    Attributes:
        metric: the headline metric; lower is better.
        reference: name of the row that others are held against.
        step: optimiser steps behind the weights.
        weights: units that count, in each batch.
        precision: "bf16" or "fp32".
        device: what it ran on.
        readings: the rows.
    """

    metric: str
    reference: str
    step: int
    weights: list[float]
    precision: str
    device: str
    readings: list[Reading]

    def __getitem__(self, name: str) -> Reading:
        """The row of this name."""
        return next(reading for reading in self.readings if reading.name == name)

    def value(self, reading: Reading) -> Estimate:
        """The headline metric, with its interval over batches."""
        return estimate(reading.batches, self.weights, reading.metrics[self.metric])

    def lost(self, reading: Reading) -> Estimate:
        """How much higher the headline metric is than that of the reference; paired over batches."""
        full = self[self.reference]
        differences = [a - b for a, b in zip(reading.batches, full.batches, strict=True)]
        overall = reading.metrics[self.metric] - full.metrics[self.metric]
        return estimate(differences, self.weights, overall)

    def loops(self, reading: Reading) -> Estimate:
        """Loops of a unit, with the interval over batches."""
        return estimate(reading.loops, self.weights)

    def time(self, reading: Reading) -> float:
        """Time of a forward pass, that of the reference being 1."""
        return reading.seconds_per_unit / self[self.reference].seconds_per_unit

    def exhibit(self) -> TableExhibit:
        """The table as it is shown."""
        rows: list[list[Cell]] = [
            [
                reading.name,
                self.value(reading),
                None if reading.name == self.reference else self.lost(reading),
                _loops(self.loops(reading)),
                f"{self.time(reading):.2f}",
            ]
            for reading in self.readings
        ]
        rules = [f"{one.name}: `{one.settings}`." for one in self.readings if one.settings]
        return TableExhibit(
            "Held-out data, read in several ways",
            f"Lower is better. Lost: against {self.reference}, paired over the same "
            f"{len(self.weights)} batches; after ±, half of the 95 % interval over them. Loops: of a "
            f"unit, on average. Time: of a forward pass, that of {self.reference} being 1. "
            f"{' '.join(rules)}".rstrip(),
            columns=["way", self.metric.replace("_", " "), "lost", "loops", "time"],
            rows=rows,
        )


class Tally:
    """What one way of reading comes to, batch by batch.

    Args:
        model: that reads.
    """

    def __init__(self, model: LoopedModel) -> None:
        self._model = model
        self._total = fresh_metrics(model)
        self.values: list[float] = []
        self.weights: list[float] = []
        self.loops: list[float] = []
        self.seconds: list[float] = []

    def add(self, measured: Measured) -> None:
        """Count one batch."""
        adapter, outcome = self._model.adapter, measured.outcome
        alone = fresh_metrics(self._model)
        for metrics in (self._total, alone):
            adapter.measure(metrics, outcome, measured.batch)
        self.values.append(float(alone[adapter.metric].compute()))
        self.weights.append(float(outcome.num_units))
        self.seconds.append(measured.seconds / outcome.losses.numel())
        if outcome.depth is not None:
            counts = outcome.weights > 0
            self.loops.append(float(outcome.depth[counts].double().mean()))
        else:
            rule = measured.way.halting
            self.loops.append(float("nan") if rule.adaptive else measured.way.depth)

    @property
    def metrics(self) -> dict[str, float]:
        """Over all batches at once, by name."""
        return {name: float(metric.compute()) for name, metric in self._total.items()}

    def reading(self, name: str, way: Way) -> Reading:
        """All that was counted, as a row of a table."""
        settings = rule_in_words(way.halting) if way.halting.adaptive else ""
        seconds = median(self.seconds)
        return Reading(name, settings, way.depth, self.metrics, self.values, self.loops, seconds)


def read_in_ways(
    model: LoopedModel,
    ways: Mapping[str, Way],
    reference: str,
    *,
    batch_size: int,
    max_batches: int | None = None,
    only: Callable[[int], bool] | None = None,
    precision: str = "fp32",
    step: int = 0,
    watchers: Sequence[Watcher] = (),
) -> WayTable:
    """Read held-out data in every way, on the same batches and with the same draws.

    Args:
        model: on the device to use.
        ways: by name.
        reference: name of the way that others are held against.
        batch_size: sequences per batch; intervals are over batches.
        max_batches: batches of the pass; None takes the whole split.
        only: says of a batch's number whether to read it; None reads all.
        precision: "bf16" or "fp32".
        step: optimiser steps behind the weights, to note down.
        watchers: are told the name of the way and what came of it, batch by batch.

    Raises:
        ValueError: no held-out data, or a rule that does not work with this model.
    """
    assert reference in ways
    names = {way: name for name, way in ways.items()}
    tallies = {name: Tally(model) for name in ways}
    passes = held_out(
        model,
        list(ways.values()),
        batch_size=batch_size,
        max_batches=max_batches,
        only=only,
        precision=precision,
    )
    for measured in passes:
        name = names[measured.way]
        tallies[name].add(measured)
        for watch in watchers:
            watch(name, measured)
    if not tallies[reference].values:
        raise no_data(model)
    return WayTable(
        metric=model.adapter.metric,
        reference=reference,
        step=step,
        weights=tallies[reference].weights,
        precision=precision,
        device=next(model.parameters()).device.type,
        readings=[tallies[name].reading(name, way) for name, way in ways.items()],
    )


def batch_size_for(model: LoopedModel, size: int) -> int:
    """The largest of a batch size, its half, its quarter and so on with which there are enough batches."""

    def count(size: int) -> int:
        batches = model.adapter.batches("valid", batch_size=size, seed=SEED)
        return sum(1 for _ in islice(batches, ENOUGH))

    found = count(size)
    while found < ENOUGH and size > 1 and (more := count(size // 2)) > found:
        found, size = more, size // 2
    return size


def no_data(model: LoopedModel) -> ValueError:
    """What to raise where no batch was read."""
    return ValueError(
        f"the domain {type(model.adapter).__name__} yields no held-out batches: "
        'its split "valid" is empty, give it more data'
    )


def _loops(loops: Estimate) -> Cell:
    """Loops as they are shown: without an interval where all batches agree."""
    if loops.value != loops.value:
        return None
    return loops if loops.margin else loops.value


def fresh_metrics(model: LoopedModel) -> dict[str, torchmetrics.Metric]:
    """The domain's metrics, on the model's device, for this process alone."""
    device = next(model.parameters()).device
    metrics = {name: metric.to(device) for name, metric in model.adapter.metrics().items()}
    for metric in metrics.values():
        # One process evaluates; the others that it trained with have left, or do something else.
        metric.distributed_available_fn = lambda: False
    return metrics

"""Held-out batches, read in several ways: what each way gives for every batch and unit, and its time."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from loopverse.analysis.ways import fresh_metrics
from loopverse.errors import UserError
from loopverse.model import LoopedModel
from loopverse.training.evaluation import Way, held_out


@dataclass
class Amount:
    """How much held-out data to read, and how; the fields are arguments of `held_out`."""

    batch_size: int
    max_batches: int | None = None
    precision: str = "fp32"


@dataclass
class Reading:
    """What came of one way.

    Attributes:
        metrics: of all batches.
        values: the headline metric of each batch.
        seconds: of each batch.
        losses: of the units of each batch.
        depths: loops of the units of each batch.
    """

    metrics: dict[str, Metric]
    values: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[Float[Tensor, "b t"]] = field(default_factory=list)
    depths: list[Int[Tensor, "b t"]] = field(default_factory=list)

    def value(self, metric: str) -> float:
        """A metric over all batches."""
        return float(self.metrics[metric].compute())

    @property
    def loops(self) -> float:
        """Mean loops of a unit."""
        return float(torch.cat([depth.flatten() for depth in self.depths]).double().mean())


@dataclass
class Readings:
    """What came of every way.

    Attributes:
        ways: one for each way, in order.
        weights: units that count, in each batch.
        counted: those of each batch.
    """

    ways: list[Reading]
    weights: list[float] = field(default_factory=list)
    counted: list[Bool[Tensor, "b t"]] = field(default_factory=list)


@torch.no_grad()
def read_ways(
    model: LoopedModel,
    ways: Sequence[Way],
    amount: Amount,
    only: Callable[[int], bool] | None = None,
) -> Readings:
    """Read held-out batches in every way; the ways take turns.

    Args:
        model: on the device to use.
        ways: how.
        amount: of data.
        only: says of a batch's number whether to read it; None reads all.

    Raises:
        ValueError: no batches, or a domain whose outcome has no depth for each loss.
    """
    adapter = model.adapter
    found = Readings([Reading(fresh_metrics(model)) for _ in ways])
    places = {way: place for place, way in enumerate(ways)}
    for measured in held_out(model, ways, only=only, **asdict(amount)):
        outcome, reading = measured.outcome, found.ways[places[measured.way]]
        if outcome.depth is None:
            raise UserError(
                f"{type(adapter).__name__} does not say how many loops each of its units got: return from "
                "`forward` what `Thought.weigh` returns, with one loss for each unit of the state"
            )
        if measured.way is ways[0]:
            found.weights.append(float(outcome.num_units))
            found.counted.append((outcome.weights > 0).cpu())
        alone = fresh_metrics(model)
        for metrics in (reading.metrics, alone):
            adapter.measure(metrics, outcome, measured.batch)
        reading.values.append(float(alone[adapter.metric].compute()))
        reading.seconds.append(measured.seconds)
        reading.losses.append(outcome.losses.float().cpu())
        reading.depths.append(outcome.depth.cpu())
    if not found.weights:
        raise UserError(
            f"there is not enough held-out data in {type(adapter).__name__}: calibration needs at least 2 "
            "batches, one to find thresholds on and one to measure; give it more data, or a smaller "
            "--batch-size"
        )
    return found

"""What rules to stop early would give and cost, at several settings of each, really run."""

from __future__ import annotations

from dataclasses import dataclass, field

from loopverse.analysis.numbers import loops_in_words
from loopverse.analysis.signals import listen
from loopverse.analysis.ways import Reading, WayTable, read_in_ways
from loopverse.depth import Average, Confidence, FixedPoint, Halting, Majority, PredictionKL
from loopverse.depth.halting.naming import title_of
from loopverse.model import LoopedModel
from loopverse.training.evaluation import Way

LAST = "the last loop"
SETTINGS = 4
"""Of each rule that are tried, at even quantiles of what it looks at."""
BOUND = 0.005
"""How much of the headline metric a recommended number of loops, or rule, may cost."""


@dataclass
class Exits:
    """Held-out data under rules to stop early, beside fixed depths.

    Attributes:
        table: a row for each, the trained depth being the reference.
        refused: why a rule cannot be used, by its name.
    """

    table: WayTable
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def front(self) -> list[Reading]:
        """The rows that no other beats in both loops and the metric, from few loops to many."""
        rows = sorted(self.table.readings, key=lambda row: (self.loops(row), self.value(row)))
        front: list[Reading] = []
        for row in rows:
            if not front or self.value(row) < self.value(front[-1]):
                front.append(row)
        return front

    @property
    def cheapest(self) -> Reading:
        """The row with the fewest loops that costs no more than `BOUND` of the metric."""
        full = self.value(self.table[self.table.reference])
        within = [row for row in self.table.readings if self.value(row) <= full + BOUND * abs(full)]
        return min(within, key=self.loops)

    def value(self, row: Reading) -> float:
        """The headline metric."""
        return row.metrics[self.table.metric]

    def loops(self, row: Reading) -> float:
        """Of a unit, on average; the most it gets, where the domain does not say."""
        loops = self.table.loops(row).value
        return row.depth if loops != loops else loops


def read_votes(
    model: LoopedModel,
    trained: int,
    categories: bool,
    *,
    batch_size: int,
    max_batches: int,
    precision: str,
) -> WayTable:
    """Hold predictions from several loops together against those of the last one.

    Args:
        model: on the device to use.
        trained: loops.
        categories: whether predictions are categories, of which there is a majority.
        batch_size: sequences per batch.
        max_batches: batches to read.
        precision: "bf16" or "fp32".
    """
    votes = [Average(), Average(loops=2), *([Majority()] if categories else [])]
    ways = {LAST: Way(trained)}
    for vote in votes if trained > 1 else []:
        which = f"the last {vote.loops}" if vote.loops else "all"
        ways[f"{type(vote).__name__.lower()} of {which}"] = Way(trained, vote=vote)
    return read_in_ways(
        model,
        ways,
        LAST,
        batch_size=batch_size,
        max_batches=max_batches,
        precision=precision,
    )


def read_exits(
    model: LoopedModel,
    trained: int,
    own: Halting | None,
    *,
    batch_size: int,
    max_batches: int,
    precision: str,
) -> Exits:
    """Listen to each rule, then run it at a few settings.

    Args:
        model: on the device to use.
        trained: the most loops that a unit gets.
        own: the rule that the model was trained with; None: it has none.
        batch_size: sequences per batch.
        max_batches: batches to read.
        precision: "bf16" or "fp32".
    """
    amount = {"batch_size": batch_size, "max_batches": max_batches, "precision": precision}
    full = loops_in_words(trained)
    ways = {loops_in_words(depth): Way(depth) for depth in range(1, trained + 1)}
    refused: dict[str, str] = {}
    rules = [FixedPoint(), PredictionKL(), Confidence(), *([] if own is None else [own])]
    for rule in rules if trained > 1 else []:
        if rule.knob is None:
            ways[title_of(rule)] = Way(trained, rule)
            continue
        try:
            heard = listen(model, rule, trained, **amount)
        except ValueError as error:
            refused[title_of(rule)] = str(error)
            continue
        for value in heard.thresholds(SETTINGS):
            try:
                short = float(f"{value:.3g}")
                name = f"{title_of(rule)} {rule.knob.setting}={short:g}"
                ways[name] = Way(trained, rule.with_knob(short))
            except ValueError:  # a setting that the rule cannot have
                continue
    return Exits(read_in_ways(model, ways, full, **amount), refused)

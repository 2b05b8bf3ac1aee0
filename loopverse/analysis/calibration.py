"""What halting rules give and cost once their thresholds are calibrated: the record of a run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loopverse.analysis.records import read_record, write_record
from loopverse.errors import UserError
from loopverse.exhibit import Estimate
from loopverse.training.calibrated import FILE


@dataclass
class WayRow:
    """One way of reading the held-out batches that no threshold was found on.

    Attributes:
        name: "4 loops", or the rule's.
        words: as `loopverse sample RUN` takes them; of a fixed depth none.
        metric: the headline metric.
        increase: of the headline metric over that of all loops, as a share of it.
        margin: half of the 95 % interval of `increase`, over batches; not a number with a single batch.
        loops: mean loops of a unit.
        distance: mean distance, in loops, from the oracle's, of units that count.
        seconds: of a batch, relative to all loops; the median over batches.
        saved: share of the time spent in loops that was saved.
        note: why nothing was saved; empty where something was.
    """

    name: str
    words: list[str]
    metric: float
    increase: float
    margin: float
    loops: float
    distance: float
    seconds: float
    saved: float
    note: str = ""

    @property
    def worse(self) -> Estimate:
        """The increase with its interval."""
        return Estimate(self.increase, None if self.margin != self.margin else self.margin)


@dataclass
class Calibration:
    """A row for each fixed depth and each rule, on the same batches.

    Attributes:
        metric: the headline metric; lower is better.
        loops: the most that a unit gets.
        max_increase: of the headline metric, as a share, that thresholds were allowed.
        step: optimiser steps behind the weights.
        device: what it ran on.
        found_on: batches that thresholds were found on.
        batches: batches that the rows are of.
        oracle: mean loops after which a unit's loss is as low as it gets, within `max_increase` of the
            mean loss (the earliest loop whose prediction already equals the best one).
        fixed: a row for each number of loops.
        rules: a row for each rule.
        chosen: the rule with the least time within the bound, as `loopverse.depth.halting.naming` writes
            it; empty where none saves anything.
        chosen_name: of its row.
    """

    metric: str
    loops: int
    max_increase: float
    step: int
    device: str
    found_on: int
    batches: int
    oracle: float
    fixed: list[WayRow]
    rules: list[WayRow]
    chosen: dict[str, Any] = field(default_factory=dict)
    chosen_name: str = ""

    @property
    def best(self) -> WayRow | None:
        """The row of the rule that was chosen."""
        return next((row for row in self.rules if row.name == self.chosen_name), None)

    def save(self, run: Path) -> None:
        """Write it into a run folder, atomically."""
        write_record(run / FILE, self)

    @classmethod
    def load(cls, run: Path) -> "Calibration":
        """Read what `save` wrote.

        Raises:
            ValueError: there is none, or it is damaged.
        """
        try:
            content = read_record(run / FILE)
            rows = {
                name: [WayRow(**row) for row in content.pop(name)] for name in ("fixed", "rules")
            }
            return cls(**rows, **content)
        except FileNotFoundError:
            raise UserError(
                f"{run} is not calibrated: `loopverse calibrate {run}` does it"
            ) from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{run / FILE} is damaged and cannot be read: write it again with "
                f"`loopverse calibrate {run}`"
            ) from error

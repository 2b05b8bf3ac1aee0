"""What early exits save, and how far they are from an oracle that knows when a unit is done."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from loopverse.analysis.allocation import LOSS
from loopverse.analysis.calibration import Calibrated
from loopverse.analysis.difficulty import Spent
from loopverse.analysis.numbers import loops_in_words
from loopverse.analysis.ways import Reading, WayTable
from loopverse.errors import UserError
from loopverse.training.evaluation import Measured

SAVES = 0.01
"""Share of the time in loops from which on a rule is said to save something."""


@dataclass
class Units:
    """Losses at every fixed depth and loops under every way, of each unit of each batch that counts.

    Attributes:
        losses: by loops, of each batch, `[n]`.
        depths: by name of the way, of each batch, `[n]`.
    """

    losses: dict[int, list[Float[Tensor, " n"]]] = field(default_factory=dict)
    depths: dict[str, list[Int[Tensor, " n"]]] = field(default_factory=dict)

    def add(self, name: str, measured: Measured) -> None:
        """Note one batch, read in the way of this name.

        Raises:
            ValueError: the domain does not say how many loops each unit got.
        """
        outcome, way = measured.outcome, measured.way
        if outcome.depth is None:
            raise UserError(
                "calibration needs to know how many loops each unit got: return `thought.weigh(...)` from "
                "`forward`, with one loss for each unit of the state"
            )
        counts: Bool[Tensor, "b t"] = outcome.weights > 0
        if not way.halting.adaptive:
            self.losses.setdefault(way.depth, []).append(outcome.losses[counts].float().cpu())
        self.depths.setdefault(name, []).append(outcome.depth[counts].cpu())

    def saturation(self, tolerance: float) -> Int[Tensor, " n"]:
        """The oracle: the first loop after which a unit's loss is as low as it gets, nearly.

        Fixed depths must be 1, 2, ... up to the deepest.

        Args:
            tolerance: how near, as a share of the mean loss at the deepest.
        """
        losses = torch.stack([torch.cat(self.losses[depth]) for depth in sorted(self.losses)])
        slack = tolerance * abs(float(losses[-1].double().mean()))
        good = losses <= losses.amin(0) + slack  # [loops n]
        return good.long().argmax(0) + 1

    def distance(self, name: str, oracle: Int[Tensor, " n"]) -> float:
        """Mean distance of a way from the oracle, in loops."""
        return float((torch.cat(self.depths[name]) - oracle).abs().double().mean())


def rows_of(table: WayTable, loops: int, units: Units, bound: float) -> dict[str, Calibrated]:
    """A row for each way, by name."""
    one, whole = table[loops_in_words(1)], table[table.reference]
    loop = (whole.seconds_per_unit - one.seconds_per_unit) / (loops - 1)
    in_loops = max(loops * loop / whole.seconds_per_unit, 1e-12)  # share of the whole
    oracle = units.saturation(bound)

    def row(reading: Reading) -> Calibrated:
        size, lost = abs(table.value(whole).value), table.lost(reading)
        found = Calibrated(
            name=reading.name,
            settings=reading.settings,
            metric=table.value(reading).value,
            increase=lost.value / size,
            margin=math.nan if lost.margin is None else lost.margin / size,
            loops=table.loops(reading).value,
            distance=units.distance(reading.name, oracle),
            correlation=math.nan,
            correlation_margin=math.nan,
            seconds=table.time(reading),
            saved=(1 - table.time(reading)) / in_loops,
        )
        return replace(found, note=_why_nothing(found, loops)) if found.settings else found

    return {reading.name: row(reading) for reading in table.readings}


def saving(rows: Mapping[str, Calibrated]) -> list[str]:
    """Rules that save something, the fastest first."""
    saving = [row for row in rows.values() if row.settings and not row.note]
    return [row.name for row in sorted(saving, key=lambda row: row.seconds)]


def correlate(row: Calibrated, spent: Spent) -> None:
    """Note in a row how its loops go with the loss at full depth."""
    found = spent.relations[LOSS].correlation if LOSS in spent.relations else None
    if found is not None:
        row.correlation = found.value
        row.correlation_margin = math.nan if found.margin is None else found.margin


def _why_nothing(row: Calibrated, loops: int) -> str:
    if row.loops > loops - 0.005:
        return "it stops no unit before the last loop"
    if row.saved > SAVES:
        return ""
    return (
        f"it saves {1 - row.loops / loops:.0%} of the loops and no time: what it looks at, and taking units "
        "apart, costs as much as the loops that are not run"
    )

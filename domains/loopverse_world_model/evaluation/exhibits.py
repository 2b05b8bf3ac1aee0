"""What there is to show of a trained world model, in the order in which it is read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loopverse.domain import Think
from loopverse.exhibit import Exhibit
from loopverse.nn import reuse_weights
from loopverse_world_model.evaluation.baselines import baselines
from loopverse_world_model.evaluation.calibration import calibration
from loopverse_world_model.evaluation.deferral import deferral
from loopverse_world_model.evaluation.open_loop import HORIZONS, open_loop
from loopverse_world_model.evaluation.rollouts import Rollouts, rollouts
from loopverse_world_model.evaluation.showing_calibration import calibration_exhibits
from loopverse_world_model.evaluation.showing_errors import (
    deferral_table,
    error_table,
    loops_map,
    part_table,
)
from loopverse_world_model.evaluation.showing_play import play_exhibits
from loopverse_world_model.evaluation.showing_rollouts import rollout_exhibits
from loopverse_world_model.evaluation.starts import Starts

if TYPE_CHECKING:
    from loopverse_world_model.adapter import WorldModel

PART_HORIZONS = (1, 5, 20, 50)
"""Columns of the table of parts, which has many rows."""
TIMES = (1, 2, 4)
"""Multiples of the trained number of loops that long rollouts are tried with."""


@dataclass(frozen=True)
class Effort:
    """How much is computed: what a default run does in less than half a minute.

    Attributes:
        starts: of the table of errors.
        map_starts: of everything that is repeated, for several depths or ways.
        rollouts: long ones, for each depth.
        steps: of each.
    """

    starts: int = 1000
    map_starts: int = 256
    rollouts: int = 100
    steps: int = 1000

    @classmethod
    def of(cls, adapter: "WorldModel") -> "Effort":
        """Less of it where every step draws a picture and looks at it."""
        dynamics = adapter.dynamics
        if any(leaf.kind == "image" for leaf in dynamics.observed):
            steps = 200 if dynamics.decoded else cls.steps
            return cls(starts=64, map_starts=32, rollouts=16, steps=steps)
        return cls()


def exhibits(
    adapter: "WorldModel", think_at: Callable[[int], Think], loops: Sequence[int], trained: int
) -> Iterator[Exhibit]:
    """Everything that is measured on held-out episodes; arguments as in `DomainAdapter.exhibits`."""
    with reuse_weights():
        yield from _exhibits(adapter, think_at, loops, trained, Effort.of(adapter))


def _exhibits(
    adapter: "WorldModel",
    think_at: Callable[[int], Think],
    loops: Sequence[int],
    trained: int,
    effort: Effort,
) -> Iterator[Exhibit]:
    records = adapter.source.records("valid")
    longest = int(Starts.of(records).left.max())
    think = think_at(trained)
    model = open_loop(adapter, think, limit=effort.starts, records=records)
    rivals = baselines(adapter, limit=effort.starts, records=records)
    yield error_table(model, rivals, HORIZONS, longest)
    some = {"limit": effort.map_starts, "records": records}
    by_loops = {number: open_loop(adapter, think_at(number), **some) for number in loops}
    if by_loops:
        yield loops_map(by_loops, HORIZONS)
    yield from play_exhibits(adapter, think_at, trained)
    yield part_table(model, rivals, PART_HORIZONS)
    yield from calibration_exhibits(
        calibration(adapter, think, limit=effort.starts, records=records), HORIZONS
    )
    found, refused = _rolled_out(adapter, think_at, trained, effort)
    yield from rollout_exhibits(found, trained, refused)
    if adapter.dynamics.carried:  # else nothing is left of a step that is not decoded
        yield deferral_table(deferral(adapter, think, **some), adapter.dynamics.decoded)


def _rolled_out(
    adapter: "WorldModel", think_at: Callable[[int], Think], trained: int, effort: Effort
) -> tuple[list[Rollouts], list[int]]:
    """Long rollouts at several depths, and the depths that the core does not run."""
    found: list[Rollouts] = []
    refused: list[int] = []
    for times in TIMES:
        try:
            found += rollouts(
                adapter, think_at, [times * trained], num=effort.rollouts, steps=effort.steps
            )
        except ValueError:  # an untied core owns as many loops as it was trained with
            if times == 1:
                raise
            refused.append(times * trained)
    return found, refused

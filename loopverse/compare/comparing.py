"""`loopverse compare RUN RUN ...`: finished runs of any origin, as rows of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from loopverse.analysis.overrides import overrides
from loopverse.compare.study import Arm
from loopverse.compare.table import NOT_FINITE, Row, curve_of, price_of
from loopverse.errors import UserError
from loopverse.training import RunFolder
from loopverse.training.config import TrainConfig

Curves = dict[tuple[str, str, int], list[tuple[float, float]]]


def rows_of_runs(paths: Sequence[str | Path]) -> tuple[list[Row], Curves]:
    """A row for each run, grouped by domain, core's width and data; and their curves.

    Raises:
        ValueError: folders that are no runs, runs that are not finished, the same arm and seed twice, or runs
            of different domains, metrics or data.
    """
    runs = [RunFolder.open(path) for path in paths]
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise UserError("a run is named twice: name each once")
    rows: list[Row] = []
    curves: Curves = {}
    for run in runs:
        row, curve = _row(run)
        rows.append(row)
        curves[row.group, row.arm, row.seed] = curve
    _check_alike(runs, rows)
    return rows, curves


def _row(run: RunFolder) -> tuple[Row, list[tuple[float, float]]]:
    summary, config = run.summary, run.config
    if summary is None:
        raise UserError(
            f"{run.path} is not finished: go on with it, `loopverse train run={run.path}`, or leave it out"
        )
    price = price_of(config)
    kind = _kind(config)
    loops = config.schedule.typical()
    flops = price.training * price.units
    value = float(summary["value"]) if summary.get("value") is not None else math.nan
    row = Row(
        group=config.choices["domain"],
        arm=str(Arm(kind, loops)),
        kind=kind,
        loops=loops,
        seed=config.seed,
        rate=1.0,
        steps=config.training.steps,
        state="finished",
        reason="" if math.isfinite(value) else NOT_FINITE,
        metric=str(summary["metric"]),
        value=value,
        seconds=float(summary["seconds"]),
        parameters=price.parameters,
        outside=price.outside,
        applied=price.applied,
        forward_flops=price.forward,
        training_flops=flops * config.training.steps,
        memory=price.memory,
        joules=math.nan,
        folder=str(run.path),
    )
    return row, curve_of(run, flops)


def _kind(config: TrainConfig) -> str:
    if not config.core.tied:
        return "untied"
    return "tied" if config.choices.get("schedule", "constant") == "constant" else "drawn"


def _check_alike(runs: Sequence[RunFolder], rows: Sequence[Row]) -> None:
    """Refuse runs that cannot stand in one comparison."""
    known: dict[tuple[str, int], Path] = {}
    data: dict[str, Path] = {}
    for run, row in zip(runs, rows, strict=True):
        twin = known.setdefault((row.arm, row.seed), run.path)
        if row.group != rows[0].group or row.metric != rows[0].metric:
            raise UserError(
                f"{run.path} learns {row.group} ({row.metric}) and {runs[0].path} learns {rows[0].group} "
                f"({rows[0].metric}): numbers of different kinds cannot be compared; a study does it without units"
            )
        if twin is not run.path:
            raise UserError(
                f"{twin} and {run.path} are both {row.arm} with seed {row.seed}: give one of them another "
                "seed, or leave one out"
            )
        corpus = str(run.config.domain)
        first = data.setdefault(row.group, run.path)
        if corpus != str(RunFolder.open(first).config.domain):
            different = _difference(first, run.path)
            raise UserError(
                f"{first} and {run.path} do not learn the same data ({different}): compare runs whose domain "
                "has the same settings"
            )


def _difference(one: Path, other: Path) -> str:
    words = [set(overrides(RunFolder.open(path).config) or ()) for path in (one, other)]
    apart = sorted(word for word in words[0] ^ words[1] if word.startswith("domain."))
    return ", ".join(apart) or "the settings of the domain differ"

"""Find how soon each halting rule may stop units for a stated loss of quality, and measure what it saves."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from loopverse.analysis.allocation import Allocation, collect_allocation
from loopverse.analysis.calibration import Calibration
from loopverse.analysis.numbers import loops_in_words
from loopverse.analysis.saving import Units, correlate, rows_of, saving
from loopverse.analysis.thresholds import Amount, Found, Search, measured_on
from loopverse.analysis.ways import batch_size_for
from loopverse.depth import (
    Bounded,
    Confidence,
    FixedDepth,
    FixedPoint,
    Halting,
    PredictionKL,
    SecondOrder,
)
from loopverse.depth.halting.naming import plain, title_of
from loopverse.errors import UserError
from loopverse.model import LoopedModel
from loopverse.training import RunFolder, load

BATCHES = 32
"""Held-out batches that are read at most, where nothing else is asked."""


def usual_rules(model: LoopedModel) -> list[Halting]:
    """Every kind of rule that needs no training, and the one that the model was trained with."""
    return [
        FixedPoint(),
        FixedPoint(norm="inf"),
        FixedPoint(per="sequence"),
        SecondOrder(),
        PredictionKL(),
        Confidence(),
        Confidence(measure="entropy"),
        *([model.halting] if model.halting.learned else []),
    ]


def capped_rules(loops: int) -> list[Halting]:
    """Rules that give no unit more loops than so many, which would do for all; none reads predictions."""
    rules: list[Halting] = [FixedDepth()]
    if loops > 1:
        rules += [FixedPoint(), FixedPoint(per="sequence")]
    return [Bounded(rule, max_loops=loops) for rule in rules]


def calibrate(
    model: LoopedModel,
    rules: Sequence[Halting] | None = None,
    *,
    loops: int,
    amount: Amount,
    max_increase: float = 0.005,
    step: int = 0,
    told: Callable[[str], None] = lambda _: None,
) -> tuple[Calibration, Allocation]:
    """Find thresholds on every second held-out batch, and measure on the others.

    Args:
        model: on the device to use.
        rules: default: `usual_rules`, and `capped_rules` where fewer loops for all are within the bound.
        loops: the most that a unit gets.
        amount: of held-out data, both halves together.
        max_increase: of the headline metric, as a share of it with all loops.
        step: optimiser steps behind the weights, to note down.
        told: called with what is being done.

    Returns:
        What the rules give and cost, and where the loops went under those for which there is a threshold.

    Raises:
        ValueError: fewer than two loops or held-out batches, a bound that is not above 0, a core that
            cannot run so many loops.
    """
    if loops < 2:
        raise UserError(f"expected at least 2 loops, of which some can be saved, got {loops}")
    if not 0 < max_increase < 1:
        raise UserError(f"the bound must be above 0 and below 1 (100%), got {max_increase:g}")
    search = Search(model, loops, amount, max_increase)
    if rules is None:
        enough = search.enough
        rules = usual_rules(model) + (capped_rules(enough) if enough < loops else [])
    found: dict[str, Found] = {}
    for rule in rules:
        told(f"finding a threshold for {title_of(rule)}")
        found[title_of(rule)] = search.found(rule)
    told("measuring")
    units = Units()
    allocation = collect_allocation(
        model,
        {title: one.rule for title, one in found.items() if not one.note},
        loops,
        fixed=range(1, loops),
        closely=lambda table: saving(rows_of(table, loops, units, max_increase))[:1],
        only=measured_on,
        step=step,
        watchers=[units.add],
        **asdict(amount),
    )
    rows = rows_of(allocation.table, loops, units, max_increase)
    for title, spent in allocation.spent.items():
        correlate(rows[title], spent)
    whole = rows[loops_in_words(loops)]
    report = [
        replace(whole, name=title, settings="", note=one.note) if one.note else rows[title]
        for title, one in found.items()
    ]
    best = saving(rows)[:1]
    return (
        Calibration(
            metric=model.adapter.metric,
            loops=loops,
            max_increase=max_increase,
            step=step,
            device=allocation.table.device,
            found_on=search.batches,
            batches=len(allocation.table.weights),
            oracle=float(units.saturation(max_increase).double().mean()),
            fixed=[rows[loops_in_words(depth)] for depth in range(1, loops + 1)],
            rules=report,
            chosen=plain(found[best[0]].rule) if best else {},
            chosen_name=best[0] if best else "",
        ),
        allocation,
    )


def calibrate_run(
    run: str | Path | RunFolder,
    rules: Sequence[Halting] | None = None,
    *,
    loops: int | None = None,
    max_increase: float = 0.005,
    checkpoint: str | int = "best",
    batch_size: int | None = None,
    max_batches: int = BATCHES,
    device: torch.device | str | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Calibrate a run's checkpoint and write `calibration.json` and `allocation.json` into its folder.

    Args:
        run: the run folder.
        rules: default: `usual_rules`.
        loops: the most that a unit gets; default: what the run was trained for.
        max_increase: of the headline metric, as a share of it with all loops.
        checkpoint: "best", "last" or a step.
        batch_size: sequences per batch; default: as in training, or a half, a quarter and so on of it where
            there would be fewer than 16 batches, over which intervals are.
        max_batches: of both halves together.
        device: where to compute; default: the accelerator there is, else the CPU.
        told: called with what is being done.

    Raises:
        ValueError: a run that cannot be loaded, or what `calibrate` refuses.
    """
    loaded = load(run, checkpoint, device)
    training = loaded.config.training
    calibration, allocation = calibrate(
        loaded.model,
        rules,
        loops=loops or loaded.config.schedule.typical(),
        amount=Amount(
            batch_size or batch_size_for(loaded.model, training.batch_size),
            max_batches,
            loaded.folder.facts["precision"],
        ),
        max_increase=max_increase,
        step=loaded.step,
        told=told,
    )
    calibration.save(loaded.folder.path)
    allocation.save(loaded.folder.path)
    return calibration

"""Evaluate a model on held-out data at several depths, for any domain."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import torch

from loopverse.analysis.allocation import Allocation, collect_allocation
from loopverse.analysis.depths import Depth, DepthTable, check_depths, usual_depths
from loopverse.analysis.efficiency import Cost, measure_cost
from loopverse.analysis.exhibits import collect_exhibits
from loopverse.analysis.signals import misfire
from loopverse.analysis.ways import Tally, no_data
from loopverse.depth import Halting
from loopverse.depth.halting.naming import name_of
from loopverse.domain import SampleSettings
from loopverse.model import LoopedModel
from loopverse.training import LoadedRun, RunFolder, load
from loopverse.training.evaluation import Way, held_out
from loopverse.training.use import Use, finished_texts

FILE = "evaluation.json"
"""Where `evaluate_run` writes, in the run folder."""
LENGTH = 240
"""Units of a sample beside the figures."""


@torch.no_grad()
def evaluate_depths(
    model: LoopedModel,
    loops: Sequence[int],
    *,
    trained: int,
    batch_size: int,
    max_batches: int | None = None,
    precision: str = "fp32",
    step: int = 0,
) -> DepthTable:
    """The domain's held-out metrics at each depth, on the same batches and with the same draws.

    Args:
        model: on the device to use.
        loops: the depths.
        trained: the depth that the model is used with.
        batch_size: sequences per batch; the interval is over batches.
        max_batches: batches of the pass; None takes the whole split.
        precision: "bf16" or "fp32".
        step: optimiser steps behind the weights, to note down.

    Raises:
        ValueError: a depth that the model cannot run, or no held-out data.
    """
    core = model.core.config
    depths = check_depths(loops, None if core.tied else core.loops)
    adapter, device = model.adapter, next(model.parameters()).device
    ways = {depth: Way(depth) for depth in depths}
    tallies = {way: Tally(model) for way in ways.values()}
    cost: Cost | None = None
    passes = held_out(
        model,
        list(ways.values()),
        batch_size=batch_size,
        max_batches=max_batches,
        precision=precision,
    )
    for measured in passes:
        if cost is None:
            cost = measure_cost(model, measured.batch)
        tallies[measured.way].add(measured)
    if cost is None:
        raise no_data(model)
    counted = {depth: tallies[way] for depth, way in ways.items()}
    return DepthTable(
        metric=adapter.metric,
        trained=trained,
        step=step,
        weights=counted[depths[0]].weights,
        precision=precision,
        device=device.type,
        depths=[
            Depth(
                depth,
                counted[depth].metrics,
                counted[depth].values,
                median(counted[depth].seconds),
                cost.per_unit(model.core, depth),
            )
            for depth in depths
        ],
    )


def evaluate_run(
    run: str | Path | RunFolder,
    loops: Sequence[int] | None = None,
    *,
    checkpoint: str | int = "best",
    batch_size: int | None = None,
    max_batches: int | None = None,
    device: torch.device | str | None = None,
) -> DepthTable:
    """Evaluate a run's checkpoint at several depths and write `evaluation.json` into its folder.

    A short sample at each depth, all with the same draws, is kept beside the figures, and what becomes
    of the domain's example. Then comes what the domain has to show, `exhibits.json`; an error in it is
    a warning and costs nothing else. A run that was trained with a rule to stop early is also asked
    where the loops went under it, as by `evaluate_rules`.

    Args:
        run: the run folder.
        loops: the depths; default: `usual_depths` of the run.
        checkpoint: "best", "last" or a step.
        batch_size: sequences per batch; default: as in training.
        max_batches: batches of the pass; default: as in training.
        device: where to compute; default: the accelerator there is, else the CPU.

    Raises:
        ValueError: a run that cannot be loaded, a depth that it cannot run, a corpus that is gone.
    """
    loaded = load(run, checkpoint, device)
    config = loaded.config
    trained = config.schedule.typical()
    most = None if config.core.tied else config.core.loops
    table = evaluate_depths(
        loaded.model,
        usual_depths(trained, most) if loops is None else loops,
        trained=trained,
        batch_size=batch_size or config.training.batch_size,
        max_batches=max_batches or config.training.valid_batches,
        precision=loaded.folder.facts["precision"],
        step=loaded.step,
    )
    for depth in table.depths:
        depth.sample = sampled(loaded.model, depth.loops)
        if loaded.model.adapter.example:
            depth.example = sampled(loaded.model, depth.loops, loaded.model.adapter.example)
    table.save(loaded.folder.path / FILE)
    depths = [depth.loops for depth in table.depths]
    exhibition = collect_exhibits(loaded.model, depths, trained, loaded.step)
    exhibition.save(loaded.folder.path)
    if exhibition.problem:
        warnings.warn(exhibition.problem, stacklevel=2)
    if config.halting.adaptive:
        try:
            _allocate(loaded, {}, loops, batch_size, max_batches)
        except ValueError as error:  # a rule that this domain cannot use, which training did not
            warnings.warn(f"where the loops went is not known: {error}", stacklevel=2)
    return table


def evaluate_rules(
    run: str | Path | RunFolder,
    rules: Mapping[str, Halting] | None = None,
    loops: Sequence[int] | None = None,
    *,
    checkpoint: str | int = "best",
    batch_size: int | None = None,
    max_batches: int | None = None,
    device: torch.device | str | None = None,
) -> Allocation:
    """Read held-out data at fixed depths and under rules to stop early, and say where the loops went.

    What there is to show is written to `allocation.json` in the run folder; an error of the domain in
    what it shows of its own is a warning and costs nothing else.

    Args:
        run: the run folder.
        rules: by the name they are shown with; default: the one that the run was trained with.
        loops: fixed depths; the deepest is the most that a unit gets under a rule. Default: those of
            `usual_depths` up to the trained one.
        checkpoint: "best", "last" or a step.
        batch_size: sequences per batch; default: as in training.
        max_batches: batches of the pass; default: as in training.
        device: where to compute; default: the accelerator there is, else the CPU.

    Raises:
        ValueError: a run that cannot be loaded, a depth that it cannot run, or a rule that does not work
            with its model or its domain.
    """
    loaded = load(run, checkpoint, device)
    return _allocate(loaded, rules or {}, loops, batch_size, max_batches)


def _allocate(
    loaded: LoadedRun,
    rules: Mapping[str, Halting],
    loops: Sequence[int] | None,
    batch_size: int | None,
    max_batches: int | None,
) -> Allocation:
    config = loaded.config
    trained = config.schedule.typical()
    core = config.core
    usual = [number for number in usual_depths(trained) if number <= trained]
    depths = check_depths(loops or usual, None if core.tied else core.loops)
    asked = rules or {name_of(config.halting): config.halting}
    amount = {
        "batch_size": batch_size or config.training.batch_size,
        "max_batches": max_batches or config.training.valid_batches,
        "precision": loaded.folder.facts["precision"],
    }
    found = collect_allocation(
        loaded.model, asked, depths[-1], fixed=depths, step=loaded.step, **amount
    )
    found.save(loaded.folder.path)
    problems = [found.exhibition.problem]
    problems += [
        misfire(loaded.model, asked[name], depths[-1], spent.loops.shares, **amount)
        for name, spent in found.spent.items()
    ]
    for problem in filter(None, problems):
        warnings.warn(problem, stacklevel=3)
    return found


@torch.no_grad()
def sampled(
    model: LoopedModel, loops: int, prompt: str = "", settings: SampleSettings | None = None
) -> str:
    """What a model makes of a prompt, by default an empty one; nothing where it does not sample so."""
    use = Use(settings or model.adapter.Sampling(length=LENGTH))
    try:
        (text,) = finished_texts(
            [prompt], model.adapter.sample(use.think(model, loops), [prompt], use.sampling)
        )
    except (NotImplementedError, ValueError):  # it samples nothing, or not so
        return ""
    return text

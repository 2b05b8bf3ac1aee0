"""Measure what a model makes: quality against block evaluations, over loops and steps of sampling."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from loopverse.analysis.depths import check_depths, usual_depths
from loopverse.analysis.diversity import LENGTHS, byte_entropy, distinct
from loopverse.analysis.efficiency import BlockCount
from loopverse.analysis.judging import Judge
from loopverse.analysis.overrides import written
from loopverse.analysis.quality import FILE, Quality, QualityTable
from loopverse.depth import Even, FixedDepth, Halting, Last, LoopBudget, Vote
from loopverse.domain import DomainAdapter, SampleSettings
from loopverse.errors import UserError
from loopverse.model import LoopedModel
from loopverse.training import RunFolder, load
from loopverse.training.use import CHOICES, Use, finished_texts

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SAMPLES = 16
"""Texts of a row, where nothing else is asked."""
STEPS = "steps"
"""The setting of sampling that says how many steps it takes, in domains that have one."""


def evaluate_quality(
    run: str | Path | RunFolder,
    loops: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    *,
    judge: str | Path | None = None,
    samples: int = SAMPLES,
    budget: LoopBudget | None = None,
    halting: Halting | None = None,
    vote: Vote | None = None,
    settings: SampleSettings | None = None,
    checkpoint: str | int = "best",
    device: torch.device | str | None = None,
) -> QualityTable:
    """Sample from nothing with every number of loops and steps, and write `quality.json` in the run.

    Text n of every row has the same random draws. The likelihood under a judge can be had by dull
    texts; entropy and distinct-n, which are always measured, tell.

    Args:
        run: the run folder.
        loops: the depths; default: `usual_depths` of the run.
        steps: numbers of sampling steps; default: that of `settings`.
        judge: a run folder of a domain that reads texts; None judges nothing.
        samples: texts to make for each row.
        budget: how the loops are shared out over the steps; default: evenly.
        halting: when to stop early; default: never.
        vote: which loop's readout a prediction is made from; default: that of the last.
        settings: an instance of the domain's `Sampling`; default: its defaults.
        checkpoint: of the run: "best", "last" or a step.
        device: where to compute; default: the accelerator there is, else the CPU.

    Raises:
        ValueError: a run or judge that cannot be used so, a domain that samples nothing or has no
            steps, or depths and settings that cannot be.
    """
    if samples < 1:
        raise ValueError(f"the number of samples must be at least 1, got {samples}")
    loaded = load(run, checkpoint, device)
    model, config, domain = loaded.model, loaded.config, type(loaded.model.adapter)
    if domain.sample is DomainAdapter.sample:
        raise UserError(f"{domain.__name__} does not sample: there is nothing to judge")
    most = None if config.core.tied else config.core.loops
    depths = check_depths(
        usual_depths(config.schedule.typical(), most) if loops is None else loops, most
    )
    use = Use(
        settings or domain.Sampling(), budget or Even(), halting or FixedDepth(), vote or Last()
    )
    uses = [replace(use, sampling=style) for style in _styles(use.sampling, steps)]
    critic = None if judge is None else Judge.load(judge, loaded.folder, device)
    _sampled(model, uses[0], depths[0], 1)  # because the first of all calls is slower
    table = QualityTable(
        judge="" if judge is None else str(judge),
        judge_step=0 if critic is None else critic.run.step,
        step=loaded.step,
        samples=samples,
        words=words_of(use),
        device=next(model.parameters()).device.type,
        rows=[_measured(model, one, depth, samples, critic) for depth in depths for one in uses],
    )
    table.save(loaded.folder.path / FILE)
    return table


def words_of(use: Use) -> list[str]:
    """What differs from the defaults, as `loopverse.training.use.read_use` reads it."""
    words = _changed(use.sampling, "")
    for group, options in CHOICES.items():
        names = {kind: name for name, kind in options.items()}
        name = names[type(getattr(use, group))]
        if name != next(iter(options)):
            words += [f"{group}={name}", *_changed(getattr(use, group), f"{group}.")]
    return words


def _changed(value: DataclassInstance, prefix: str) -> list[str]:
    words = []
    for item in fields(value):
        now = getattr(value, item.name)
        default = item.default if item.default_factory is MISSING else item.default_factory()
        if now != default:
            words.append(f"{prefix}{item.name}={written(now)}")
    return words


def _styles(settings: SampleSettings, steps: Sequence[int] | None) -> list[SampleSettings]:
    """The settings of every number of steps, which the domain checks when they are made."""
    if steps is None:
        return [settings]
    if STEPS not in {item.name for item in fields(settings)}:
        raise UserError(
            f"{type(settings).__name__} has no setting `{STEPS}`: this domain does not sample in a "
            f"number of steps that can be chosen; leave out --{STEPS}"
        )
    return [replace(settings, **{STEPS: number}) for number in sorted(set(steps))]


def _measured(
    model: LoopedModel, use: Use, loops: int, samples: int, judge: Judge | None
) -> Quality:
    texts, blocks, seconds = _sampled(model, use, loops, samples)
    verdicts = judge.weigh(texts) if judge is not None else []
    return Quality(
        loops=loops,
        steps=getattr(use.sampling, STEPS, None) or 0,
        blocks=blocks / samples,
        seconds=seconds / samples,
        nats=[verdict.nats for verdict in verdicts],
        tokens=[verdict.tokens for verdict in verdicts],
        sizes=[len(text.encode("utf-8", "surrogatepass")) for text in texts],
        entropies=[byte_entropy(text) for text in texts],
        distinct=[distinct(texts, n) for n in LENGTHS],
        sample=texts[0],
    )


@torch.no_grad()
def _sampled(
    model: LoopedModel, use: Use, loops: int, count: int
) -> tuple[list[str], float, float]:
    """Texts from nothing, and the block evaluations and seconds that all of them took."""
    counter = BlockCount(model.core.config)
    think = use.think(model, loops, observe=counter)
    prompts = [""] * count
    began = time.perf_counter()
    texts = finished_texts(prompts, model.adapter.sample(think, prompts, use.sampling))
    return texts, counter.blocks, time.perf_counter() - began

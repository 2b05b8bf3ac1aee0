"""Conducting a study: learning rates are tried, arms are trained, and every run has its row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loopverse.compare.jobs import Job, job
from loopverse.compare.running import run_jobs
from loopverse.compare.study import TIE, Arm, Group, Study, as_yaml, pairs
from loopverse.compare.table import Price, Row, curve_of, price_of, row_of, write_table
from loopverse.errors import UserError
from loopverse.training import RunFolder
from loopverse.training.compose import compose
from loopverse.training.files import write_text

STUDY = "study.yaml"
ONCE = Arm("tied", 1)
"""The arm without loops, by which budgets are measured."""
Pair = tuple[Group, Arm]


@dataclass
class Results:
    """What came of a study.

    Attributes:
        study: what was asked for.
        rows: of all runs but the tries.
        prices: what the model of every arm costs.
        rates: the learning rate that every arm is trained with, as a multiple of the domain's own.
        tries: the metric at the end of every try, by arm and rate; not a number where it failed.
        curves: training FLOPs and held-out metric at every evaluation, by group, arm and seed.
    """

    study: Study
    rows: list[Row]
    prices: dict[Pair, Price]
    rates: dict[Pair, float]
    tries: dict[Pair, dict[float, float]] = field(default_factory=dict)
    curves: dict[tuple[str, str, int], list[tuple[float, float]]] = field(default_factory=dict)

    def price(self, group: str, arm: str) -> Price:
        """What the model of an arm costs."""
        return next(
            price for (a, b), price in self.prices.items() if (str(a), str(b)) == (group, arm)
        )


def conduct(
    study: Study,
    folder: Path,
    launcher: Sequence[str] = (),
    told: Callable[[str], None] = lambda _: None,
) -> Results:
    """Train what is not trained yet, and collect the rows; asked again, it goes on where it was stopped.

    Args:
        study: what to compare.
        folder: where runs and table are kept.
        launcher: Hydra's words for where jobs run.
        told: called with what is being done.

    Raises:
        ValueError: settings that no run can have, before anything is trained.
    """
    words = {pair: study.words(*pair) for pair in pairs(study)}
    configs = {pair: compose(said) for pair, said in words.items()}
    told(f"{len(words)} arms of {len(study.groups())} groups, {len(study.seeds)} seeds each")
    prices = {pair: price_of(config) for pair, config in configs.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / STUDY, as_yaml(study))
    tries = _tries(study, folder, words)
    if tries:
        told(f"trying {len(study.rates)} learning rates for every arm")
        run_jobs([one for jobs in tries.values() for one in jobs], folder, launcher)
    tried = {pair: {one.rate: one.value for one in some} for pair, some in tries.items()}
    rates = {pair: best_rate(tried.get(pair, {})) or study.rates[0] for pair in words}
    shares = {pair: _share(study, pair, prices, tries, rates) for pair in words}
    jobs = [
        job(folder, *pair, said, seed=seed, rate=rates[pair], share=shares[pair])
        for pair, said in words.items()
        for seed in study.seeds
    ]
    told(f"training {sum(not one.finished for one in jobs)} of {len(jobs)} runs")
    run_jobs(jobs, folder, launcher)
    results = Results(
        study,
        [row_of(one, prices[one.group, one.arm]) for one in jobs],
        prices,
        rates,
        tried,
    )
    for one in jobs:
        if one.finished:
            price = prices[one.group, one.arm]
            curve = curve_of(RunFolder.open(one.path), price.training * price.units)
            results.curves[str(one.group), str(one.arm), one.seed] = curve
    write_table(results.rows, folder)
    return results


def _tries(study: Study, folder: Path, words: dict[Pair, list[str]]) -> dict[Pair, list[Job]]:
    if len(study.rates) == 1 and study.budget != "seconds":
        return {}
    seed = study.seeds[0]
    return {
        pair: [
            job(folder, *pair, said, seed=seed, rate=rate, share=study.tries)
            for rate in sorted(study.rates)
        ]
        for pair, said in words.items()
    }


def best_rate(tried: Mapping[float, float]) -> float | None:
    """The lowest learning rate that ended about as well as the best: short runs flatter high rates.

    Args:
        tried: the metric at the end of every try, by rate; not a number where it failed.

    Returns:
        None where all failed.
    """
    known = {rate: value for rate, value in tried.items() if math.isfinite(value)}
    if not known:
        return None
    best = min(known.values())
    return min(rate for rate, value in known.items() if value <= best + TIE * abs(best))


def _share(
    study: Study,
    pair: Pair,
    prices: dict[Pair, Price],
    tries: dict[Pair, list[Job]],
    rates: dict[Pair, float],
) -> float:
    """How many steps an arm gets, as a multiple of those of the arm without loops."""
    once = (pair[0], ONCE)
    if study.budget == "flops":
        return prices[once].training / prices[pair].training
    if study.budget == "seconds":
        return _pace(tries[once], rates[once]) / _pace(tries[pair], rates[pair])
    return 1.0


def _pace(tries: Sequence[Job], rate: float) -> float:
    """Seconds of a step, in the try of a rate.

    Raises:
        ValueError: the try failed.
    """
    (one,) = [one for one in tries if one.rate == rate]
    summary = RunFolder.open(one.path).summary if one.finished else None
    if summary is None:
        raise UserError(
            f"budget=seconds needs to know how long a step of {one.group}, {one.arm} takes, and its try failed "
            f"({one.failure}): leave that arm out, or use budget=data"
        )
    return float(summary["seconds"]) / one.steps

"""Find how soon each halting rule may stop units for a stated loss of quality, and measure what it saves."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from loopverse.analysis.calibration import Calibration, WayRow
from loopverse.analysis.generation import words_of
from loopverse.analysis.reading import Amount, Readings, read_ways
from loopverse.analysis.saving import mean_depth, rows_of, saturation
from loopverse.analysis.signals import Signals, listen
from loopverse.depth import (
    RULES,
    Confidence,
    FixedPoint,
    Halting,
    PredictionKL,
    SecondOrder,
)
from loopverse.depth.halting.naming import plain
from loopverse.domain import SampleSettings
from loopverse.errors import UserError
from loopverse.model import LoopedModel
from loopverse.training import RunFolder, load
from loopverse.training.evaluation import Way
from loopverse.training.use import Use

CANDIDATES = 200
"""Thresholds that are thought of, at even quantiles of what a rule looks at."""
BATCHES = 32
"""Held-out batches that are read at most, where nothing else is asked."""
SAVES = 0.01
"""Share of the time in loops from which on a rule is said to save something."""


@dataclass
class Found:
    """A rule with the threshold that was found for it.

    Attributes:
        rule: as it was given, where none was found.
        note: why none was found; empty where one was.
    """

    rule: Halting
    note: str = ""


def usual_rules(model: LoopedModel) -> list[Halting]:
    """Every kind of rule that needs no training, and the one that the model was trained with."""
    return [
        FixedPoint(),
        FixedPoint(norm="inf"),
        SecondOrder(),
        PredictionKL(),
        Confidence(),
        Confidence(measure="entropy"),
        *([model.halting] if model.halting.learned else []),
    ]


def calibrate(
    model: LoopedModel,
    rules: Sequence[Halting] | None = None,
    *,
    loops: int,
    amount: Amount,
    max_increase: float = 0.005,
    step: int = 0,
    told: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Find thresholds on every second held-out batch, and measure on the others.

    Args:
        model: on the device to use.
        rules: default: `usual_rules`.
        loops: the most that a unit gets.
        amount: of held-out data, both halves together.
        max_increase: of the headline metric, as a share of it with all loops.
        step: optimiser steps behind the weights, to note down.
        told: called with what is being done.

    Raises:
        ValueError: fewer than two loops or held-out batches, a bound that is not above 0, a core that
            cannot run so many loops.
    """
    if loops < 2:
        raise UserError(f"expected at least 2 loops, of which some can be saved, got {loops}")
    if not 0 < max_increase < 1:
        raise UserError(f"the bound must be above 0 and below 1 (100%), got {max_increase:g}")
    search = _Search(model, loops, amount, max_increase)
    found = []
    for rule in usual_rules(model) if rules is None else rules:
        told(f"finding a threshold for {name_of(rule)}")
        found.append(search.found(rule))
    told("measuring")
    able = [one for one in found if not one.note]
    fixed = [Way(depth) for depth in range(1, loops + 1)]
    readings = read_ways(
        model, [*fixed, *(Way(loops, one.rule) for one in able)], amount, _measured_on
    )
    oracle = saturation(readings.ways[:loops], readings.counted, max_increase)
    names = [(f"{depth} loop{'s' * (depth > 1)}", list[str]()) for depth in range(1, loops + 1)]
    names += [(name_of(one.rule), halting_words(one.rule)) for one in able]
    rows = rows_of(readings, names, loops, model.adapter.metric, oracle)
    measured = iter(rows[loops:])
    report = [_unable(one, rows[loops - 1]) if one.note else next(measured) for one in found]
    for row in report:
        row.note = row.note or _why_nothing(row, loops)
    saving = [(row, one) for row, one in zip(report, found, strict=True) if not row.note]
    chosen = min(saving, key=lambda pair: pair[0].seconds, default=None)
    return Calibration(
        metric=model.adapter.metric,
        loops=loops,
        max_increase=max_increase,
        step=step,
        device=next(model.parameters()).device.type,
        found_on=len(search.whole.weights),
        batches=len(readings.weights),
        oracle=mean_depth(oracle, readings.counted),
        fixed=rows[:loops],
        rules=report,
        chosen={} if chosen is None else plain(chosen[1].rule),
        chosen_name="" if chosen is None else chosen[0].name,
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
    """Calibrate a run's checkpoint and write `calibration.json` into its folder.

    Args:
        run: the run folder.
        rules: default: `usual_rules`.
        loops: the most that a unit gets; default: what the run was trained for.
        max_increase: of the headline metric, as a share of it with all loops.
        checkpoint: "best", "last" or a step.
        batch_size: sequences per batch; default: as in training.
        max_batches: of both halves together.
        device: where to compute; default: the accelerator there is, else the CPU.
        told: called with what is being done.

    Raises:
        ValueError: a run that cannot be loaded, or what `calibrate` refuses.
    """
    loaded = load(run, checkpoint, device)
    training = loaded.config.training
    calibration = calibrate(
        loaded.model,
        rules,
        loops=loops or loaded.config.schedule.typical(),
        amount=Amount(
            batch_size or training.batch_size,
            max_batches,
            loaded.folder.facts["precision"],
        ),
        max_increase=max_increase,
        step=loaded.step,
        told=told,
    )
    calibration.save(loaded.folder.path)
    return calibration


def name_of(rule: Halting) -> str:
    """A rule by its name and what else is not usual about it, but for its threshold."""
    words = halting_words(rule)
    if not words:
        return type(rule).__name__
    knob = "" if rule.knob is None else f"halting.{rule.knob.setting}="
    settings = [word for word in words[1:] if not (knob and word.startswith(knob))]
    return " ".join(
        [words[0].removeprefix("halting="), *(w.removeprefix("halting.") for w in settings)]
    )


def halting_words(rule: Halting) -> list[str]:
    """A rule as `KEY=VALUE` words; none for a class that has no name here."""
    if type(rule) not in RULES.values():
        return []
    return words_of(Use(SampleSettings(), halting=rule))


class _Search:
    """Looks for thresholds on the even batches."""

    def __init__(self, model: LoopedModel, loops: int, amount: Amount, bound: float) -> None:
        self._model, self._loops, self._amount, self._bound = model, loops, amount, bound
        self.whole = self._read(Way(loops))

    def found(self, rule: Halting) -> Found:
        """The rule with the threshold that stops units soonest within the bound.

        The metric is taken to grow with how soon units stop, and the candidates are bisected. A rule
        without a knob is taken as it is, or not at all.
        """
        knob = rule.knob
        if knob is None:
            cost = self._increase(rule)
            return Found(rule, f"as it is, it costs {cost:+.2%}" if cost > self._bound else "")
        try:
            signals = listen(self._model, rule, self._loops, only=_found_on, **asdict(self._amount))
        except ValueError as error:  # what it looks at is not there
            return Found(rule, str(error))
        candidates = _candidates(rule, signals)
        tried: dict[int, float] = {}

        def increase(place: int) -> float:
            if place not in tried:
                tried[place] = self._increase(candidates[place])
            return tried[place]

        low, high = -1, len(candidates)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if increase(middle) <= self._bound else (low, middle)
        if low >= 0:
            return Found(candidates[low])
        if not candidates:
            return Found(rule, f"no {knob.setting} stops a unit before the last loop")
        value = getattr(candidates[0], knob.setting)
        return Found(
            rule,
            f"{knob.setting}={value:.3g}, which stops next to no one, costs {increase(0):+.2%} already; "
            f"what it looks at is {signals.in_words()}",
        )

    def _increase(self, rule: Halting) -> float:
        metric = self._model.adapter.metric
        reference = self.whole.ways[0].value(metric)
        return (self._read(Way(self._loops, rule)).ways[0].value(metric) - reference) / abs(
            reference
        )

    def _read(self, way: Way) -> Readings:
        return read_ways(self._model, [way], self._amount, _found_on)


def _found_on(number: int) -> bool:
    return number % 2 == 0


def _measured_on(number: int) -> bool:
    return number % 2 == 1


def _candidates(rule: Halting, signals: Signals) -> list[Halting]:
    """The rule with each threshold that is worth a thought and that it can have."""
    rules = []
    for value in signals.thresholds(CANDIDATES):
        try:
            rules.append(replace(rule, **{signals.knob.setting: value}))
        except ValueError:
            continue
    return rules


def _unable(found: Found, whole: WayRow) -> WayRow:
    """The row of a rule without a threshold: all loops."""
    return replace(whole, name=name_of(found.rule), words=[], note=found.note)


def _why_nothing(row: WayRow, loops: int) -> str:
    if row.saved > SAVES:
        return ""
    if row.loops > loops - 0.005:
        return "it stops no unit before the last loop"
    return (
        f"it saves {1 - row.loops / loops:.0%} of the loops and no time: what it looks at, and taking units "
        "apart, costs as much as the loops that are not run"
    )

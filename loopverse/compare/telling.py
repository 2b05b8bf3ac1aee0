"""What was found, in words and tables: the same for the terminal, the report and the Markdown summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from loopverse.analysis.numbers import count
from loopverse.compare.estimators import Equivalent
from loopverse.compare.findings import COSTS, ONCE, ArmFacts, Findings
from loopverse.compare.study import TIE, Study
from loopverse.compare.uncertainty import Interval, as_estimate
from loopverse.exhibit import Cell, Curves, Exhibit, Series, TableExhibit

BUDGET = {
    "data": "All arms of a group saw the same data, step for step.",
    "flops": "All arms of a group had the training FLOPs of the arm without loops.",
    "seconds": "All arms of a group had the training time of the arm without loops.",
}


BEYOND = 1000.0
"""A multiple from which on a number says nothing more."""
PHI = 5.0
"""An exponent of which a study says nothing: its loops, or its baselines, cannot be told apart."""


def methods(study: Study, taken: Sequence[float] = ()) -> list[str]:
    """How a study was made, a sentence each.

    Args:
        study: what was asked for.
        taken: learning rates of the arms, as multiples of the domain's own.
    """
    rates = ", ".join(f"{rate:g}" for rate in study.rates)
    tried = (
        "The domain's own learning rate was taken for all arms."
        if len(study.rates) == 1
        else f"Learning rates of {rates} times the domain's own were tried for every arm, with seed "
        f"{study.seeds[0]} and {study.tries:.0%} of the steps; the lowest that came within {TIE:.0%} of the best was taken, as short runs flatter "
        "high rates."
    )
    edge = sum(rate in (min(study.rates), max(study.rates)) for rate in taken)
    if edge and len(study.rates) > 2:
        tried += f" For {edge} of {len(taken)} arms that was the smallest or the largest: a wider range may find better."
    return [
        BUDGET[study.budget],
        tried,
        "Loss is taken as arm + seed + noise of one size in all arms; intervals are what the means are likely to "
        "be then (95 %).",
        "FLOPs are those of matrix products, attention counting the whole square; a training step has three times "
        "those of a forward pass where every loop is differentiated.",
    ]


def in_words(found: Findings) -> list[str]:
    """The verdict on a group, a sentence each."""
    said = []
    deepest = max((arm for arm in found.of_kind("tied")), key=lambda arm: arm.loops, default=None)
    for arm in (one for one in found.arms if one.kind != "untied" and one.loops > 1):
        if arm.worth is None:
            continue
        said.append(f"{arm.name}: {_worth(arm.worth)}{_controls(arm)}.")
    phi = found.exponent
    if phi is not None and all(
        end is None or abs(end) < PHI for end in (phi.value, phi.low, phi.high)
    ):
        said.append(f"r loops count as r^phi layers with phi = {_interval(phi)}.")
    if found.stop is not None and deepest is not None:
        said.append(_stop(found, deepest.loops))
    said += [f"{one[0].upper()}{one[1:]}." for one in found.lacking]
    if found.failed:
        said.append(
            f"{len(found.failed)} {'run has' if len(found.failed) == 1 else 'runs have'} no result: "
            f"{found.failed[0].arm}, seed {found.failed[0].seed}: {found.failed[0].reason or 'not trained'}."
        )
    return said


def across(all_found: Sequence[Findings]) -> TableExhibit:
    """One table for all groups: what loops are worth, without units."""
    rows: list[list[Cell]] = []
    for found in all_found:
        stop = "not told" if found.stop is None else _stop_cell(found)
        looped = [
            a for a in found.arms if a.kind != "untied" and a.loops > 1 and a.worth is not None
        ]
        for arm in looped:
            assert arm.worth is not None
            rows.append(
                [
                    found.group,
                    f"{arm.loops}{', drawn' if arm.kind == 'drawn' else ''}",
                    _multiple(arm.worth),
                    arm.against_once or "not told",
                    arm.against_untied or "not told",
                    "–" if arm.to_target is None else _ratio(arm.to_target),
                    stop if arm is looped[0] else "",
                ]
            )
    return TableExhibit(
        "What loops are worth",
        "Stands for: how many times its own parameters an untied model has that is as good, with the 95 % interval "
        "over seeds; extrapolated where no trained one is that good or bad. Better or worse is said where "
        "the interval of the difference leaves zero out. FLOPs: of training, until the loss at which the model "
        "without loops ends, which needs 1.",
        columns=[
            *("group", "loops", "stands for", "than 1 loop", "than untied"),
            *("FLOPs to its loss", "gain stops at"),
        ],
        rows=rows,
    )


def exhibits(found: Findings) -> list[Exhibit]:
    """Tables and plots of a group."""
    if not found.arms:
        return []
    metric = found.metric.replace("_", " ")
    energy = all(math.isfinite(arm.joules) for arm in found.arms)
    shown: list[Exhibit] = [
        TableExhibit(
            f"{found.group}: every arm",
            f"Lower is better; ± is half of the 95 % interval, from {found.seeds} seeds and the noise that all "
            "arms share. Memory: bytes that a training step keeps, counted. Seconds: of a run, on the machine "
            "and among the runs that it was made.",
            columns=[
                "arm",
                metric,
                "runs",
                "parameters",
                "unrolled",
                "FLOPs a unit",
                "memory",
                "seconds",
                *(["joules"] if energy else []),
                "rate",
            ],
            rows=[
                [
                    *(arm.name, as_estimate(arm.loss), str(arm.runs), count(arm.parameters)),
                    *(count(arm.applied), count(arm.forward_flops), f"{count(arm.memory)}B"),
                    f"{arm.seconds:.0f}",
                    *([count(arm.joules)] if energy else []),
                    f"x {arm.rate:g}",
                ]
                for arm in found.arms
            ],
        )
    ]
    for label in ("parameters", "training FLOPs"):
        cost = COSTS[label]
        series = [
            line for kind in ("tied", "untied", "drawn") if (line := _series(found, kind, cost))
        ]
        shown.append(
            Curves(
                f"{found.group}: {metric} by {label}",
                "Tied arms hold the same parameters at any number of loops; bars are 95 % intervals. Nothing beats "
                f"{', '.join(found.fronts[label])}.",
                x_label=label,
                y_label=metric,
                series=series,
                log_x=True,
            )
        )
    shown.append(
        TableExhibit(
            f"{found.group}: what nothing beats",
            "Arms of which no other is as good for less.",
            columns=["in", "arms, from cheap to good"],
            rows=[[cost, ", ".join(names)] for cost, names in found.fronts.items()],
        )
    )
    gains = _gains(found)
    if gains is not None:
        shown.append(gains)
    return shown


def multipliers(all_found: Sequence[Findings]) -> Curves | None:
    """What each number of loops is worth, a line for each group of which it can be told."""
    series = []
    for found in all_found:
        known = [(arm.loops, arm.worth.multiplier) for arm in found.of_kind("tied") if arm.worth]
        told = [(n, one) for n, one in known if math.isfinite(one.value) and not _anything(one)]
        if told:
            series.append(
                Series(
                    found.group,
                    [float(loops) for loops, _ in told],
                    [one.value for _, one in told],
                    [_margin(one) for _, one in told],
                )
            )
    if not series:
        return None
    return Curves(
        "How many times its parameters a looped model stands for",
        "1 means that loops buy nothing. Bars are 95 % intervals.",
        x_label="loops",
        y_label="times",
        series=series,
        log_x=True,
    )


def summary(all_found: Sequence[Findings], methods: Sequence[str], command: str) -> str:
    """The study as Markdown."""
    table = across(all_found)
    lines = ["# What loops are worth", ""]
    for found in all_found:
        lines += [f"## {found.group}", "", *(f"- {one}" for one in in_words(found)), ""]
    lines += [
        f"| {' | '.join(table.columns)} |",
        "|" + "---|" * len(table.columns),
        *(f"| {' | '.join(str(cell) for cell in row)} |" for row in table.rows),
        "",
        table.note,
        "",
        *methods,
        "",
        f"`{command}`",
        "",
    ]
    return "\n".join(lines)


def _series(found: Findings, kind: str, cost: str) -> Series | None:
    arms = found.of_kind(kind)
    once = found.arm(ONCE)
    if kind == "untied" and arms and once is not None:  # a single loop owns its layers
        arms = [once, *arms]
    if not arms:
        return None
    return Series(
        kind,
        [float(getattr(arm, cost)) for arm in arms],
        [arm.loss.value for arm in arms],
        [_margin(arm.loss) for arm in arms],
    )


def _gains(found: Findings) -> Curves | None:
    tied = found.of_kind("tied")
    if len(tied) < 3:
        return None
    steps = list(pairwise(tied))
    return Curves(
        f"{found.group}: what each step of loops lowers the loss by",
        "Per added loop, as a share of the loss without loops; below zero more loops hurt.",
        x_label="loops",
        y_label="per cent per added loop",
        series=[
            Series(
                "gain",
                [float(more.loops) for _, more in steps],
                [
                    100
                    * (few.loss.value - more.loss.value)
                    / tied[0].loss.value
                    / (more.loops - few.loops)
                    for few, more in steps
                ],
            )
        ],
    )


def _worth(worth: Equivalent) -> str:
    if _anything(worth.multiplier):
        return "how large an untied model is as good cannot be told"
    if not math.isfinite(worth.multiplier.value):
        more = "better than any" if worth.multiplier.value > 0 else "no better than the smallest"
        return f"{more} untied model that was trained"
    beyond = " (extrapolated)" if worth.extrapolated else ""
    return f"stands for {_interval(worth.multiplier)} times the parameters that it stores{beyond}"


def _controls(arm: ArmFacts) -> str:
    words = {
        "better": "better than",
        "worse": "worse than",
        "not told": "not told apart from",
    }
    parts = [f"{words[arm.against_once]} 1 loop"] if arm.against_once else []
    if arm.against_untied:
        parts.append(f"{words[arm.against_untied]} the untied model of equal FLOPs")
    return f"; {', '.join(parts)}" if parts else ""


def _stop(found: Findings, deepest: int) -> str:
    stop = found.stop
    assert stop is not None
    loops = f"{stop.loops} loop{'' if stop.loops == 1 else 's'}"
    if stop.loops == deepest:
        told = f"Each step up to {loops}, the most that were tried, is worth its cost"
    elif stop.sure:
        told = f"Gain stops at {loops}: more are not worth their cost"
    elif stop.loops == 1:
        told = "Whether more than 1 loop is worth its cost takes more seeds to tell"
    else:
        told = (
            f"Up to {loops} are surely worth their cost; whether more are takes more seeds to tell"
        )
    if stop.hurts:
        told += f", and {' and '.join(map(str, stop.hurts))} surely hurt"
    return f"{told}."


def _stop_cell(found: Findings) -> str:
    stop = found.stop
    assert stop is not None
    deepest = max(arm.loops for arm in found.of_kind("tied"))
    if stop.loops == deepest:
        return f"beyond {deepest}"
    return f"{stop.loops}" if stop.sure else f"{stop.loops} or more"


def _anything(interval: Interval) -> bool:
    """Whether the interval holds next to nothing as well as more than any."""
    if interval.low is None or interval.high is None:
        return False
    return interval.low < 1 / BEYOND and interval.high > BEYOND


def _multiple(worth: Equivalent) -> str:
    if _anything(worth.multiplier):
        return "not told"
    told = _interval(worth.multiplier)
    if worth.extrapolated and math.isfinite(worth.multiplier.value):
        return f"{told}, extrapolated"
    return told


def _interval(interval: Interval) -> str:
    value = _ratio(interval.value)
    if interval.low is None or interval.high is None:
        return f"{value} (one seed)"
    return f"{value} ({_ratio(interval.low)} to {_ratio(interval.high)})"


def _ratio(value: float) -> str:
    if math.isinf(value) or value > BEYOND:
        return "more than any" if value > 0 else "less than any"
    if abs(value) < 1 / BEYOND:
        return "0"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _margin(interval: Interval) -> float | None:
    if interval.low is None or interval.high is None:
        return None
    margin = (interval.high - interval.low) / 2
    return margin if math.isfinite(margin) else None

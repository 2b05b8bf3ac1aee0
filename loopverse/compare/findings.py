"""What a study found: estimates and verdicts for each group, from the rows of its runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean

from loopverse.compare.estimators import (
    Equivalent,
    Stop,
    cost_to_target,
    equivalent,
    exponent,
    gain_stops,
    pareto,
    verdict,
)
from loopverse.compare.table import Row
from loopverse.compare.uncertainty import Interval, Means, means
from loopverse.errors import UserError

ONCE = "1 loop"
COSTS = {
    "parameters": "parameters",
    "training FLOPs": "training_flops",
    "seconds": "seconds",
    "memory": "memory",
}
"""What an arm may be cheap in, and where that stands in its facts."""
Curves = Mapping[tuple[str, str, int], Sequence[tuple[float, float]]]


@dataclass
class ArmFacts:
    """An arm of a group.

    Attributes:
        name: of the arm.
        kind: "tied", "untied" or "drawn".
        loops: how many.
        runs: with a result.
        loss: the headline metric, over seeds.
        parameters: stored.
        applied: unrolled.
        forward_flops: per unit.
        training_flops: of a run.
        memory: bytes that a training step keeps.
        seconds: of a run, over seeds.
        joules: likewise; not a number where the machine does not tell.
        rate: multiple of the learning rate.
        against_once: whether it is "better" or "worse" than the arm without loops, or that is "not told".
        against_untied: the same against the untied arm of equal FLOPs; empty where there is none.
        worth: which baseline it is as good as; None for baselines themselves.
        to_target: training FLOPs until the loss at which the arm without loops ends, that one's own being 1;
            infinite where it is never reached, None without curves.
    """

    name: str
    kind: str
    loops: int
    runs: int
    loss: Interval
    parameters: int
    applied: int
    forward_flops: float
    training_flops: float
    memory: int
    seconds: float
    joules: float
    rate: float
    against_once: str = ""
    against_untied: str = ""
    worth: Equivalent | None = None
    to_target: float | None = None


@dataclass
class Findings:
    """What was found in a group.

    Attributes:
        group: its name.
        metric: of all of its runs; lower is better.
        seeds: that every arm was trained with, at most.
        arms: those with a result.
        failed: rows without one.
        exponent: the `phi` of `r^phi`; None without two baselines or a looped arm.
        stop: where more loops stop being worth their cost; None with one seed.
        fronts: names of the arms that no other one beats, by each of `COSTS`.
        lacking: why something is not told.
    """

    group: str
    metric: str
    seeds: int
    arms: list[ArmFacts]
    failed: list[Row]
    exponent: Interval | None = None
    stop: Stop | None = None
    fronts: dict[str, list[str]] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)

    def arm(self, name: str) -> ArmFacts | None:
        """The arm of this name, if it has a result."""
        return next((arm for arm in self.arms if arm.name == name), None)

    def of_kind(self, kind: str) -> list[ArmFacts]:
        """Arms of a kind, by loops."""
        return sorted((arm for arm in self.arms if arm.kind == kind), key=lambda arm: arm.loops)


def findings(rows: Sequence[Row], curves: Curves | None = None) -> list[Findings]:
    """What was found, group by group.

    Raises:
        ValueError: runs of one group that are measured in different metrics.
    """
    groups = dict.fromkeys(row.group for row in rows)
    return [_of_group(name, [r for r in rows if r.group == name], curves or {}) for name in groups]


def _of_group(name: str, rows: list[Row], curves: Curves) -> Findings:
    good = [row for row in rows if row.counts]
    metrics = sorted({row.metric for row in good})
    if len(metrics) > 1:
        raise UserError(
            f"the runs of {name} are measured in {' and '.join(metrics)}, which cannot be compared: compare "
            "runs of one metric at a time"
        )
    failed = [row for row in rows if not row.counts]
    found = Findings(name, metrics[0] if metrics else "", 0, [], failed)
    if not good:
        found.lacking.append("no run has a result")
        return found
    losses: dict[str, dict[int, float]] = {}
    for row in good:
        losses.setdefault(row.arm, {})[row.seed] = row.value
    known = means(losses)
    found.seeds = max(len(runs) for runs in losses.values())
    found.arms = [_arm(arm, [r for r in good if r.arm == arm], known) for arm in losses]
    if known.draws is None:
        found.lacking.append(
            "one seed: there are no intervals, and no difference can be told from chance"
        )
    _hold_against_controls(found, known)
    _find_worth(found, known)
    _find_stop(found, known)
    for cost in COSTS:
        points = {a.name: (float(getattr(a, COSTS[cost])), a.loss.value) for a in found.arms}
        found.fronts[cost] = pareto(points)
    for arm in found.arms:
        arm.to_target = _to_target(found, arm, curves)
    return found


def _arm(name: str, rows: list[Row], known: Means) -> ArmFacts:
    first = rows[0]
    value, draws = known[name]
    return ArmFacts(
        name=name,
        kind=first.kind,
        loops=first.loops,
        runs=len(rows),
        loss=Interval.of(value, draws),
        parameters=first.parameters,
        applied=first.applied,
        forward_flops=first.forward_flops,
        training_flops=first.training_flops,
        memory=first.memory,
        seconds=mean(row.seconds for row in rows),
        joules=mean(row.joules for row in rows),
        rate=first.rate,
    )


def _hold_against_controls(found: Findings, known: Means) -> None:
    untied = {arm.loops: arm for arm in found.of_kind("untied")}
    if found.arm(ONCE) is None:
        found.lacking.append("the control of equal parameters, 1 loop, has no result")
    for arm in found.arms:
        if arm.loops == 1:
            continue
        if found.arm(ONCE) is not None:
            arm.against_once = verdict(known, arm.name, ONCE)
        if arm.kind == "untied":
            continue
        if arm.loops in untied:
            arm.against_untied = verdict(known, arm.name, untied[arm.loops].name)
        else:
            found.lacking.append(f"the control of equal FLOPs for {arm.name} has no result")


def _find_worth(found: Findings, known: Means) -> None:
    once = found.arm(ONCE)
    sizes = {arm.name: float(arm.parameters) for arm in found.of_kind("untied")}
    if once is not None:
        sizes[once.name] = float(once.parameters)
    if len(set(sizes.values())) < 2:
        found.lacking.append("equivalent parameters need untied models of at least two sizes")
        return
    looped = [arm for arm in found.arms if arm.kind != "untied" and arm.loops > 1]
    for arm in looped:
        arm.worth = equivalent(arm.name, arm.parameters, sizes, known)
    tied = {arm.loops: arm.name for arm in looped if arm.kind == "tied"}
    if tied and once is not None:
        layer = (once.applied - _outside_of_loop(found, once)) or 1
        found.exponent = exponent(float(once.parameters - layer), float(layer), tied, sizes, known)


def _outside_of_loop(found: Findings, once: ArmFacts) -> float:
    """Parameters outside of the loop: what is left when those of one loop are taken away."""
    deeper = next((arm for arm in found.of_kind("tied") if arm.loops > 1), None)
    if deeper is None:
        return 0.0
    layer = (deeper.applied - once.applied) / (deeper.loops - 1)
    return once.applied - layer


def _find_stop(found: Findings, known: Means) -> None:
    tied = found.of_kind("tied")
    if len(tied) > 1:
        arms = {arm.loops: arm.name for arm in tied}
        found.stop = gain_stops(arms, {arm.loops: arm.forward_flops for arm in tied}, known)


def _to_target(found: Findings, arm: ArmFacts, curves: Curves) -> float | None:
    """Geometric mean over seeds of the FLOPs to the loss at which the arm without loops ends."""
    ratios = []
    for (group, name, seed), curve in curves.items():
        once = curves.get((group, ONCE, seed))
        if (group, name) != (found.group, arm.name) or not once or not curve:
            continue
        target = once[-1][1]
        ratios.append(cost_to_target(curve, target) / cost_to_target(once, target))
    if not ratios:
        return None
    if any(math.isinf(ratio) for ratio in ratios):
        return math.inf
    return math.exp(mean(math.log(ratio) for ratio in ratios))

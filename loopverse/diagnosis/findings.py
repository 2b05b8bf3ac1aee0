"""What the figures say, in words: what to run, what to train with, and what looks unhealthy."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from loopverse.analysis.difficulty import Distribution
from loopverse.analysis.numbers import loops_in_words, plain, words
from loopverse.analysis.statistics import Estimate, estimate
from loopverse.analysis.ways import WayTable
from loopverse.diagnosis.exits import BOUND, Exits
from loopverse.diagnosis.settling import FAR, Settling
from loopverse.diagnosis.sweep import Sweep
from loopverse.diagnosis.trace import Trace

RANK_LOST = 0.5
"""Share of the effective rank of the first loop, below which the last one's has collapsed."""
SWINGS = -0.5
"""Cosine of a turn, below which a state swings back."""
OVERTHINKS = 0.02
"""Share of units that are lost again, from which on it is worth a word."""


@dataclass(frozen=True)
class Finding:
    """Something that the figures say.

    Attributes:
        kind: "advice", "well" or "unhealthy".
        name: in a few words.
        evidence: the figures behind it.
        remedy: what to do or to try; empty where there is nothing.
    """

    kind: str
    name: str
    evidence: str
    remedy: str = ""


@dataclass
class Choice:
    """How many loops to run.

    Attributes:
        loops: the fewest that are about as good as any.
        worse: how much higher than the best of all depths the metric is with them, as a share of it.
        worse_unseen: the same where one half of the batches chooses and the other tells, both ways round.
    """

    loops: int
    worse: float
    worse_unseen: float


def choose_depth(table: WayTable, depths: list[int]) -> Choice:
    """The fewest loops within half of `BOUND` of the best.

    Args:
        table: a row for each depth, as `loops_in_words` names it.
        depths: shallow to deep.
    """
    rows = {depth: table[loops_in_words(depth)].batches for depth in depths}

    def means(part: slice) -> dict[int, float]:
        weights = table.weights[part]
        return {depth: estimate(rows[depth][part], weights).value for depth in depths}

    def worse(loops: int, values: dict[int, float]) -> float:
        best, worst = min(values.values()), max(values.values())
        scale = max(
            abs(best), (worst - best) / 100
        )  # of what is nearly perfect a share says nothing
        return (values[loops] - best) / scale if values[loops] > best else 0.0

    def fewest(values: dict[int, float]) -> int:
        return next(depth for depth in depths if worse(depth, values) <= BOUND / 2)

    whole = {depth: table[loops_in_words(depth)].metrics[table.metric] for depth in depths}
    loops = fewest(whole)
    halves = [means(slice(first, None, 2)) for first in (0, 1)] if len(table.weights) > 1 else []
    unseen = [worse(fewest(one), other) for one, other in zip(halves, halves[::-1], strict=True)]
    return Choice(loops, worse(loops, whole), fmean(unseen) if unseen else float("nan"))


def advice(
    table: WayTable, choice: Choice, trained: int, exits: Exits | None, drawn: bool
) -> list[Finding]:
    """What to run and what to train with."""
    metric = words(table.metric)
    said = (
        f"{metric} {plain(table[loops_in_words(choice.loops)].metrics[table.metric])}, {choice.worse:.2%} above "
        f"the best of all depths ({choice.worse_unseen:.2%} where other data choose than tell)"
    )
    found = [Finding("advice", f"run it with {loops_in_words(choice.loops)}", said)]
    if choice.loops < trained:
        found.append(
            Finding(
                "advice",
                f"train with {loops_in_words(choice.loops)}",
                f"more of them, up to {trained}, buy less than half a per cent here",
                "hold it against this run: `loopverse compare study=quick`",
            )
        )
    elif choice.loops > trained:
        found.append(
            Finding(
                "advice",
                f"train with {loops_in_words(choice.loops)}",
                f"it gains beyond the {trained} that it was trained with",
                f"`core.loops={choice.loops}`",
            )
        )
    else:
        found.append(
            Finding(
                "advice",
                f"train with {loops_in_words(trained)}, and try more",
                "fewer are worse, and running more than it was trained with gains nothing",
                f"`core.loops={2 * trained}`"
                + ("" if drawn else ", or `schedule=poisson`, which bears other depths in use"),
            )
        )
    if exits is not None:
        found.append(_rule(exits))
    return found


def _rule(exits: Exits) -> Finding:
    cheapest, table = exits.cheapest, exits.table
    full = table[table.reference]
    saved = 1 - exits.loops(cheapest) / full.depth
    if not cheapest.settings:
        return Finding(
            "advice",
            "no rule to stop early",
            f"none saves more loops than {cheapest.name} for everyone within {BOUND:.1%} of the metric",
            "`loopverse calibrate` looks more closely",
        )
    return Finding(
        "advice",
        f"stop early with {cheapest.name.split()[0]}",
        f"`{cheapest.settings}` saves {saved:.0%} of the loops within {BOUND:.1%} of the metric",
        "`loopverse calibrate` looks more closely",
    )


def health(
    table: WayTable,
    trained: int,
    depths: list[int],
    sweep: Sweep,
    trace: Trace,
    settling: Settling | None,
    gate: Distribution | None,
) -> list[Finding]:
    """What looks unhealthy, each with what to try; and what is well, where it could have been otherwise."""
    found = [
        *_loops_matter(table, trained),
        *_lost_again(table, trained, depths),
        *_overthinking(sweep),
        *_rank(trace, trained),
        *_swings(trace, trained),
        *_beyond(table, trained, depths),
        *_settles(settling),
        *_gate(gate),
    ]
    return sorted(found, key=lambda finding: finding.kind != "unhealthy")


def _loops_matter(table: WayTable, trained: int) -> list[Finding]:
    if trained == 1:
        return []
    full, once = table[loops_in_words(trained)], table[loops_in_words(1)]
    lost = table.lost(once)
    said = f"{loops_in_words(1)} instead of {trained} costs {_cost(table, lost.value, trained)}"
    if lost.sure and lost.value > BOUND * abs(full.metrics[table.metric]):
        return [Finding("well", "loops are used", said)]
    return [
        Finding(
            "unhealthy",
            "loops do next to nothing",
            said,
            "train longer, inject the input (`core/injection=add`), or spend the time on width",
        )
    ]


def _lost_again(table: WayTable, trained: int, depths: list[int]) -> list[Finding]:
    """Whether fewer loops are surely better than the trained number."""
    shallower = [table[loops_in_words(depth)] for depth in depths if depth < trained]
    best = min(shallower, key=lambda row: row.metrics[table.metric], default=None)
    if best is None:
        return []
    lost, full = table.lost(best), table[loops_in_words(trained)].metrics[table.metric]
    if lost.value >= -BOUND * abs(full) or not lost.sure:
        return []
    return [
        Finding(
            "unhealthy",
            "the last loops lose again what earlier ones gained",
            f"{best.name} instead of {trained} cost {_cost(table, lost.value, trained)}",
            "run fewer, or draw the number of loops in training (`schedule=poisson`)",
        )
    ]


def _overthinking(sweep: Sweep) -> list[Finding]:
    if not sweep.overthought:
        return []
    lost, gained = fmean(sweep.overthought), fmean(sweep.refined)
    what = (
        (
            "right at an earlier loop and wrong at the last",
            "wrong at the first and right at the last",
        )
        if sweep.knows_right
        else ("worse at the last loop than at an earlier one", "better than at the first")
    )
    said = f"{lost:.1%} of the units are {what[0]}, {gained:.1%} {what[1]}"
    if lost <= OVERTHINKS:
        return [Finding("well", "little overthinking", said)]
    more = over_batches([a - b for a, b in zip(sweep.overthought, sweep.refined, strict=True)])
    if not more.sure:
        return [Finding("well", "about as many units lose as gain", said)]
    if more.value < 0:
        return [Finding("well", "more units gain than lose", said)]
    remedy = "stop early, vote over loops, or supervise every loop (`objective=every`)"
    return [Finding("unhealthy", "overthinking", said, remedy)]


def _rank(trace: Trace, trained: int) -> list[Finding]:
    if trained == 1 or not trace.rank.get(1) or not trace.rank.get(trained):
        return []
    first, last = fmean(trace.rank[1]), fmean(trace.rank[trained])
    said = f"effective rank {plain(first, 3)} after the first loop, {plain(last, 3)} after the last"
    if last < RANK_LOST * first:
        remedy = "fewer loops, or an injection of the input, which keeps units apart"
        return [Finding("unhealthy", "rank collapse", said, remedy)]
    return [Finding("well", "the rank holds", said)]


def _swings(trace: Trace, trained: int) -> list[Finding]:
    if not trace.turn.get(trained) or trained < 3:
        return []
    turns, steps = fmean(trace.turn[trained]), fmean(trace.step[trained])
    before = fmean(trace.step[trained - 1])
    said = f"turn {plain(turns, 2)} at the last loop, where the state changes by {steps:.0%}"
    if turns < SWINGS and steps > 0.5 * before and steps > 0.1:
        remedy = "damp it (`halting.damping`), or a bounded injection (`core/injection=retention`)"
        return [Finding("unhealthy", "oscillation", said, remedy)]
    return []


def _beyond(table: WayTable, trained: int, depths: list[int]) -> list[Finding]:
    deeper = [depth for depth in depths if depth > trained]
    if not deeper:
        return []
    row = table[loops_in_words(deeper[-1])]
    lost, full = table.lost(row), table[loops_in_words(trained)].metrics[table.metric]
    said = f"{loops_in_words(row.depth)} cost {_cost(table, lost.value, trained)}"
    if not row.metrics[table.metric] < full * 1.1 and (lost.sure or lost.value != lost.value):
        remedy = "draw the number of loops in training (`schedule=poisson`)"
        return [Finding("unhealthy", "breaks beyond its trained depth", said, remedy)]
    return [Finding("well", "bears more loops than it was trained with", said)]


def _settles(settling: Settling | None) -> list[Finding]:
    if settling is None or not settling.kinds:
        return []
    rests = fmean(call["state"]["fixed point"] for call in settling.kinds)
    goes_round = fmean(call["state"]["orbit"] for call in settling.kinds)
    turns_to = fmean(call["direction"]["fixed point"] for call in settling.kinds)
    gain = fmean(settling.gain_last)
    apart = fmean(settling.apart_far) if settling.apart_far else 0.0
    said = (
        f"after {FAR} loops more {rests:.0%} of the units rest, {goes_round:.0%} go round, and of "
        f"{turns_to:.0%} the direction rests; the loop stretches by up to {plain(gain, 3)} where it stopped"
    )
    if max(rests, turns_to) < 0.5:
        remedy = "draw deeper in training, or bound the loop (`core/injection=retention`)"
        return [Finding("unhealthy", "it does not settle", said, remedy)]
    found = [Finding("well", "it settles", said)]
    if rests >= 0.5 and apart > 0.1:
        found.append(
            Finding(
                "unhealthy",
                "where it settles depends on where it began",
                f"states that began elsewhere end {apart:.0%} of their size apart",
                "begin at random in training (`core/init=normal`)",
            )
        )
    return found


def _gate(gate: Distribution | None) -> list[Finding]:
    if gate is None:
        return []
    said = f"{gate.shares[gate.usual]:.1%} of the units get {loops_in_words(gate.usual)}"
    if gate.collapsed:
        remedy = "more entropy (`objective.beta`), or a rule that is not learned"
        return [Finding("unhealthy", "the gate has collapsed", said, remedy)]
    return [Finding("well", "the gate tells units apart", said)]


def _cost(table: WayTable, lost: float, trained: int) -> str:
    """A difference in words: as a share, or as it is where a share of so little says nothing."""
    full, metric = table[loops_in_words(trained)].metrics[table.metric], words(table.metric)
    if abs(lost) > 10 * abs(full):
        return f"{lost:+.3g} {metric}".replace("-", "−")
    return f"{lost / abs(full) if full else 0:+.1%} of the {metric}".replace("-", "−")


def over_batches(values: list[float]) -> Estimate:
    """The mean over batches, with its interval."""
    return estimate(values, [1.0] * len(values))

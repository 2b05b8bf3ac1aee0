"""A diagnosis as it is shown: tables and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from loopverse.analysis.difficulty import Distribution
from loopverse.analysis.numbers import loops_in_words, words
from loopverse.analysis.ways import Reading, WayTable
from loopverse.diagnosis.attention import AttentionTrace
from loopverse.diagnosis.exits import Exits
from loopverse.diagnosis.fidelity import Fidelity
from loopverse.diagnosis.findings import Finding, over_batches
from loopverse.diagnosis.geometry import Trajectory
from loopverse.diagnosis.settling import FAR, Settling
from loopverse.diagnosis.sweep import Sweep
from loopverse.diagnosis.trace import Trace
from loopverse.exhibit import Cell, Curves, Estimate, Exhibit, Series, TableExhibit

KINDS: tuple[Trajectory, ...] = ("fixed point", "orbit", "drift")


def in_short(findings: Sequence[Finding], batches: int) -> TableExhibit:
    """The verdict; a page shows it as a list."""
    return TableExhibit(
        "Diagnosis",
        f"From {batches} held-out batches of one run with one seed.",
        columns=["finding", "kind", "evidence", "what to try"],
        rows=[[one.name, one.kind, one.evidence, one.remedy] for one in findings],
    )


def by_depth(table: WayTable, sweep: Sweep, trained: int) -> list[Exhibit]:
    """Loss and predictions at every depth."""
    columns = ["loops", words(table.metric), "lost", "agree", "entropy", "shift", "right"]
    given: list[Mapping[int, list[float]]] = [
        sweep.agreement,
        sweep.entropy,
        sweep.shift,
        sweep.right,
    ]
    rows: list[list[Cell]] = []
    for depth in sweep.depths:
        reading = table[loops_in_words(depth)]
        title = f"{depth} (trained)" if depth == trained else f"{depth}"
        lost = None if depth == trained else table.lost(reading)
        cells = [_mean(values.get(depth)) for values in given]
        rows.append([title, table.value(reading), lost, *cells])
    kept = [place for place in range(len(columns)) if any(row[place] is not None for row in rows)]
    found: list[Exhibit] = [
        TableExhibit(
            "Every depth",
            f"Lower {words(table.metric)} is better. Lost: against {loops_in_words(trained)}, paired. "
            "Agree: share of units with the most likely value of the trained depth. Entropy, and shift, the "
            "divergence from the row above: of predictions, in nats. Right: share of units. After ±: half "
            "of the 95 % interval over batches.",
            columns=[columns[place] for place in kept],
            rows=[[row[place] for place in kept] for row in rows],
        )
    ]
    if len(sweep.depths) > 1:
        values = [table.value(table[loops_in_words(depth)]) for depth in sweep.depths]
        found.append(
            _curves(
                "Quality by depth",
                f"Trained with {loops_in_words(trained)}.",
                "loops",
                words(table.metric),
                {"held-out": dict(zip(sweep.depths, values, strict=True))},
            )
        )
    return found


def of_units(sweep: Sweep, settled: Mapping[str, float]) -> list[Exhibit]:
    """What happens to single units."""
    if not sweep.oracle:
        return []
    early = "right earlier, wrong at the last loop" if sweep.knows_right else "worse than earlier"
    late = "wrong at first, right at the last" if sweep.knows_right else "better than at first"
    rows: list[list[Cell]] = [["loops an oracle gives a unit", over_batches(sweep.oracle)]]
    if sweep.overthought:
        rows += [
            [early, over_batches(sweep.overthought)],
            [late, over_batches(sweep.refined)],
        ]
    rows += [[name, share] for name, share in settled.items()]
    return [
        TableExhibit(
            "Units",
            "Shares of the units, but for the oracle, which stops each at the first depth that is as good as "
            "the trained one. Converged: the state changes by less than a tenth in a loop, within twice the "
            "trained depth; converged is not the same as right (2606.18206).",
            columns=["what", "value"],
            rows=rows,
        )
    ]


def of_states(trace: Trace, attention: AttentionTrace) -> list[Exhibit]:
    """How the state moves in each loop."""
    if not trace.step:
        return []
    moved = {loop + 1: values for loop, values in attention.moved.items()}
    heads = {loop + 1: values for loop, values in attention.diversity.items()}
    given = {
        "change": trace.step,
        "turn": trace.turn,
        "rank": trace.rank,
        "attention moved": moved,
        "heads differ": heads,
    }
    given = {name: values for name, values in given.items() if values}
    found: list[Exhibit] = [
        TableExhibit(
            "How the state moves",
            "Change: of the state in a loop, relative to it. Turn: cosine to the move before; below zero it "
            "swings back. Rank: effective rank of the states, `exp` of the entropy of their singular values. "
            "Attention moved: divergence from the loop before, in nats; heads differ: total variation between "
            "heads, 0 to 1.",
            columns=["loop", *given],
            rows=[
                [f"{loop}", *(_mean(values.get(loop)) for values in given.values())]
                for loop in sorted(trace.step)
            ],
        )
    ]
    if len(trace.step) > 1:
        for name, label in (("step", "relative change"), ("rank", "effective rank")):
            values = {n: over_batches(v) for n, v in sorted(vars(trace)[name].items())}
            if len(values) > 1:
                title = f"{label.capitalize()} by loop"
                found.append(_curves(title, "", "loop", label, {"state": values}))
    return found


def of_settling(settling: Settling | None, why_not: str) -> list[Exhibit]:
    """Where the loop would lead."""
    title = "If the loop went on"
    if settling is None or not settling.gap:
        return [TableExhibit(title, why_not or "No call was kept.", ["what", "value"], [])]
    rows: list[list[Cell]] = [
        ["gain where it begins", over_batches(settling.gain_first)],
        ["gain where it stopped", over_batches(settling.gain_last)],
        ["gap where it stopped", over_batches(settling.gap)],
        [f"gap {FAR} loops later", over_batches(settling.gap_far)],
    ]
    if settling.apart:
        rows += [
            ["apart, as trained", over_batches(settling.apart)],
            [f"apart, {FAR} loops", over_batches(settling.apart_far)],
        ]
    if settling.period:
        rows.append(["period of the orbits, loops", fmean(settling.period)])
    return [
        TableExhibit(
            title,
            "Gain: largest singular value of the Jacobian of one loop, a mean over rows; above one, near "
            "states can drift apart. Gap: relative change in one loop more. Apart: relative distance between "
            "states that began elsewhere.",
            columns=["what", "value"],
            rows=rows,
        ),
        TableExhibit(
            "Where it leads",
            f"Shares of units after {FAR} loops more: at rest (a change below 1 % in a loop), back where they were "
            "some loops ago, or neither. The direction is all that layers behind a norm read of the state.",
            columns=["of", *KINDS],
            rows=[
                [of, *(fmean(call[of][kind] for call in settling.kinds) for kind in KINDS)]
                for of in settling.kinds[0]
            ],
        ),
    ]


def of_exits(exits: Exits | None) -> list[Exhibit]:
    """Rules to stop early, beside fixed depths."""
    if exits is None:
        return []
    table, front = exits.table, exits.front
    rows: list[list[Cell]] = [
        [
            row.name,
            exits.loops(row),
            table.value(row),
            None if row.name == table.reference else table.lost(row),
            "yes" if row in front else "",
        ]
        for row in table.readings
    ]
    refused = [f"{name} cannot be used: {why}." for name, why in exits.refused.items()]
    fixed = [row for row in table.readings if not row.settings]
    lines: dict[str, list[Reading]] = {"fixed depth": fixed}
    for row in table.readings:
        if row.settings:
            lines.setdefault(row.name.split()[0], []).append(row)
    return [
        TableExhibit(
            "Rules to stop early",
            f"Each really run, at {len(table.weights)} batches. Front: no other row is as good with fewer "
            f"loops. {' '.join(refused)}".rstrip(),
            columns=["rule", "loops", words(table.metric), "lost", "front"],
            rows=rows,
        ),
        Curves(
            "Quality against loops",
            "To the left is cheaper; lower is better.",
            x_label="loops of a unit",
            y_label=words(table.metric),
            series=[
                _series(name, {exits.loops(row): table.value(row) for row in rows})
                for name, rows in lines.items()
            ],
        ),
    ]


def of_votes(votes: WayTable) -> list[Exhibit]:
    """Predictions from several loops together."""
    rows: list[list[Cell]] = [
        [row.name, votes.value(row), None if row.name == votes.reference else votes.lost(row)]
        for row in votes.readings
    ]
    return [
        TableExhibit(
            "Votes over loops",
            "`vote=average` predicts from the mean of the readouts, `vote=majority` from the latest that agrees with most. "
            "Lost: against the last loop, paired.",
            columns=["predicted from", words(votes.metric), "lost"],
            rows=rows,
        )
    ]


def of_gradients(fidelity: Fidelity) -> list[Exhibit]:
    """Ways to differentiate."""
    rows: list[list[Cell]] = [
        [name, over_batches(values), over_batches(fidelity.size[name]), fmean(fidelity.time[name])]
        for name, values in fidelity.cosine.items()
    ]
    refused = [f"{name} cannot be used: {why}." for name, why in fidelity.refused.items()]
    return [
        TableExhibit(
            "Ways to differentiate",
            "Against the full gradient, over all parameters: the cosine, the norm, the time of forward and "
            f"backward pass. {' '.join(refused)}".rstrip(),
            columns=["gradient", "cosine", "norm", "time"],
            rows=rows,
        )
    ]


def of_gate(gate: Distribution | None) -> list[Exhibit]:
    """How many loops the trained rule gives."""
    if gate is None:
        return []
    return [
        TableExhibit(
            "What the trained rule gives",
            "Share of the units by number of loops.",
            columns=["loops", "share"],
            rows=[[f"{loops}", share] for loops, share in sorted(gate.shares.items())],
        )
    ]


def _mean(values: list[float] | None) -> Cell:
    return over_batches(values) if values else None


def _curves(
    title: str, note: str, x: str, y: str, lines: Mapping[str, Mapping[int, Cell]]
) -> Curves:
    series = [_series(name, values) for name, values in lines.items()]
    return Curves(title, note, x_label=x, y_label=y, series=series)


def _series(name: str, points: Mapping[float, Cell] | Mapping[int, Cell]) -> Series:
    values = [(x, value) for x, value in sorted(points.items()) if isinstance(value, Estimate)]
    return Series(
        name,
        [float(x) for x, _ in values],
        [value.value for _, value in values],
        [value.margin for _, value in values],
    )

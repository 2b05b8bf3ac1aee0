"""Do published claims of what loops do hold for these runs?

For each run, `loopverse.diagnosis.diagnose_run`, and of it, with 95 % intervals over held-out batches:

- refinement: the share of what all loops but the first gain that the second one gains ("the second loop does
  most of it": above one half);
- turn: the cosine between the last two moves of the state ("later loops oscillate": below zero);
- agreement: the share of units whose most likely value after half of the loops is that of the last ("early
  readouts agree": above 0.95);
- stopping: how much lower the metric is if units stop where their state stands still than if all stop after as
  many loops on average ("convergence marks the place to stop": above zero), at the middle setting.

Several runs of one domain count as seeds: then the figures are means over runs, with intervals over them.

    OMP_NUM_THREADS=1 python benchmarks/loop_claims.py runs/A runs/B --samples 500
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from loopverse.analysis import Estimate, estimate
from loopverse.analysis.numbers import loops_in_words, shown
from loopverse.analysis.ways import Reading
from loopverse.diagnosis import Diagnosis, diagnose_run
from loopverse.training import RunFolder

CLAIMS = {
    "the second loop does most of the refinement": ("refinement", 0.5, 1),
    "later loops oscillate": ("turn", 0.0, -1),
    "early readouts agree with the last": ("agreement", 0.95, 1),
    "convergence marks the place to stop": ("stopping", 0.0, 1),
}
"""What is claimed: the figure, the number that it is held against, and on which side of it the claim is."""


def figures(found: Diagnosis) -> dict[str, Estimate | None]:
    """The four figures of a run, with intervals over its batches."""
    half = max(1, found.trained // 2)
    return {
        "refinement": _refinement(found),
        "turn": _mean(found.trace.turn.get(found.trained)),
        "agreement": _mean(found.sweep.agreement.get(half)),
        "stopping": _stopping(found),
    }


def verdict(value: Estimate | None, against: float, side: int) -> str:
    """Whether a claim holds, as far as the interval tells."""
    if value is None:
        return "cannot be asked"
    apart = side * (value.value - against)
    if value.margin is None or abs(apart) <= value.margin:
        return "not told"
    return "holds" if apart > 0 else "does not hold"


def _refinement(found: Diagnosis) -> Estimate | None:
    """A ratio of sums over batches; its interval from what is left over per batch (ratio estimator)."""
    table = found.table
    first, second, last = (table[loops_in_words(n)].batches for n in (1, 2, found.trained))
    whole = [a - c for a, c in zip(first, last, strict=True)]
    gained = [a - b for a, b in zip(first, second, strict=True)]
    total = estimate(whole, table.weights)
    if not total.sure:
        return None
    share = estimate(gained, table.weights).value / total.value
    left = [g - share * w for g, w in zip(gained, whole, strict=True)]
    margin = estimate(left, table.weights).margin
    return Estimate(share, None if margin is None else margin / abs(total.value))


def _stopping(found: Diagnosis) -> Estimate | None:
    """Against the straight line between the fixed depths on either side of the same mean loops."""
    exits, table = found.exits, found.exits.table
    rules = [row for row in table.readings if row.name.startswith("fixed_point")]
    fixed = [row for row in table.readings if not row.settings]
    between = [row for row in rules if 1 < exits.loops(row) < found.trained]
    if not between:
        return None
    row = between[len(between) // 2]
    loops, line = exits.loops(row), _line(fixed, exits.loops(row))
    assert 1 < loops < found.trained
    gained = [a - b for a, b in zip(line, row.batches, strict=True)]
    return estimate(gained, table.weights)


def _line(fixed: Sequence[Reading], loops: float) -> list[float]:
    for low, high in pairwise(sorted(fixed, key=lambda row: row.depth)):
        if low.depth <= loops <= high.depth:
            part = (loops - low.depth) / (high.depth - low.depth)
            pairs = zip(low.batches, high.batches, strict=True)
            return [(1 - part) * a + part * b for a, b in pairs]
    raise AssertionError(f"{loops} loops lie between no two depths")


def _mean(values: Sequence[float] | None) -> Estimate | None:
    return estimate(values, [1.0] * len(values)) if values else None


def main() -> None:
    parser = argparse.ArgumentParser(description="Do published claims hold for these runs?")
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--samples", type=int, default=500)
    arguments = parser.parse_args()

    domains: dict[str, list[dict[str, Estimate | None]]] = defaultdict(list)
    for run in arguments.runs:
        domain = RunFolder.open(run).config.choices["domain"]
        domains[domain].append(figures(diagnose_run(run, samples=arguments.samples)))
    print("| claim | domain | figure | against | runs | verdict |")
    print("|---|---|---|---|---|---|")
    for claim, (figure, against, side) in CLAIMS.items():
        for domain, found in domains.items():
            known = [one[figure] for one in found]
            value = known[0]
            if len(known) > 1 and all(one is not None for one in known):
                value = _mean([one.value for one in known if one is not None])
            cell = "" if value is None else shown(value)
            print(
                f"| {claim} | {domain} | {figure} {cell} | {against:g} | {len(known)} | "
                f"{verdict(value, against, side)} |"
            )


if __name__ == "__main__":
    main()

"""What a table of depths says, in sentences that claim no more than the intervals allow."""

import math

from loopverse.analysis.depths import Depth, DepthTable
from loopverse.analysis.numbers import interval, loops_in_words, plain, words


def verdicts(table: DepthTable) -> list[str]:
    """What the loops of training bought over a single one, and what going deeper does."""
    used = table.reference
    found = []
    if table.depths[0].loops < used.loops:
        found.append(_against(table, used, table.depths[0]))
    deeper = [depth for depth in table.depths if depth.loops > used.loops]
    if deeper:
        found.append(_against(table, deeper[-1], used))
    return found


def _against(table: DepthTable, depth: Depth, before: Depth) -> str:
    metric = words(table.metric)
    there, here = loops_in_words(before.loops), loops_in_words(depth.loops)
    gain = table.gain(depth, before)
    assert gain is not None  # there is a row to hold it against
    if not math.isfinite(gain.value):
        broken = here if not math.isfinite(depth.metrics[table.metric]) else there
        return f"With {broken} the result is not a finite number."
    size = plain(abs(gain.value), 2)
    if gain.margin is None:
        which = "lower" if gain.value > 0 else "higher"
        return (
            f"With {here} it is {size} {metric} {which} than with {there}; one batch alone gives no "
            "interval."
        )
    ends = interval(gain)
    if not gain.sure:
        return (
            f"Between {there} and {here} these data show no clear difference in {metric} "
            f"(lower by {ends}, 95 % interval)."
        )
    if gain.value > 0:
        return f"{here} instead of {there} bought {size} {metric} (95 % interval {ends})."
    ends = interval(gain.negated())
    return f"{here} instead of {there} cost {size} {metric} (95 % interval {ends})."

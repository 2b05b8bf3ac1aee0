"""Exhibits of where the loops went: how many there were, for what, and for which units."""

from collections.abc import Mapping

from jaxtyping import Bool, Int
from torch import Tensor

from loopverse.analysis.difficulty import COLLAPSED, GROUPS, Distribution, Spent
from loopverse.exhibit import Cell, Curves, Exhibit, HeatMap, Series, TableExhibit

ROWS, PLACES = 8, 64
"""Rows and units of each of the map of single units, at most."""


def spent_exhibits(spent: Mapping[str, Spent]) -> list[Exhibit]:
    """What there is to show of some rules: nothing, where no loops are known.

    Args:
        spent: by name of the rule.
    """
    if not spent:
        return []
    kinds = list(dict.fromkeys(kind for one in spent.values() for kind in one.relations))
    return [
        _loops_table(spent),
        _shares(spent),
        _correlations(spent, kinds),
        *(_by_difficulty(spent, kind, first=kind == kinds[0]) for kind in kinds),
    ]


def units_map(loops: Int[Tensor, "b t"], counts: Bool[Tensor, "b t"], called: str = "") -> HeatMap:
    """Loops of single units of a batch.

    Args:
        loops: of its units.
        counts: which of them count; the others are left blank.
        called: what follows the title.
    """
    loops, counts = loops[:ROWS, :PLACES], counts[:ROWS, :PLACES]
    values = [
        [float(value) if known else None for value, known in zip(*row, strict=True)]
        for row in zip(loops.tolist(), counts.tolist(), strict=True)
    ]
    return HeatMap(
        f"Loops of single units{called}",
        "The first rows of the first held-out batch; a gap is a unit that does not count.",
        x_label="place",
        x=list(range(1, loops.shape[1] + 1)),
        y_label="row",
        y=list(range(1, len(loops) + 1)),
        values=values,
        unit="loops",
        lower_is_better=None,
    )


def collapse(name: str, loops: Distribution) -> str:
    """That a rule is as good as a fixed depth, in a sentence; empty where it is not."""
    if not loops.collapsed:
        return ""
    share = 100 * loops.shares[loops.usual]
    said = "1 loop" if loops.usual == 1 else f"{loops.usual} loops"
    return (
        f"{name} collapsed: {share:.{0 if share == 100 else 1}f} % of the units get {said}, so that it "
        "is as good as a fixed depth."
    )


def _loops_table(spent: Mapping[str, Spent]) -> TableExhibit:
    rows: list[list[Cell]] = [
        [
            name,
            one.loops.mean if one.loops.mean.margin else one.loops.mean.value,
            min(one.loops.shares),
            one.loops.usual,
            max(one.loops.shares),
            100 * one.loops.shares[one.loops.usual],
            one.loops.entropy,
        ]
        for name, one in spent.items()
    ]
    collapsed = [collapse(name, one.loops) for name, one in spent.items()]
    return TableExhibit(
        "Loops of a unit",
        "Mean, with the 95 % interval over batches; fewest, usual and most; the share of the units that "
        "get the usual number, in percent; and the entropy of the number in bits, 0 where all units get "
        f"as many. Above {100 * COLLAPSED:.0f} % a rule has collapsed. "
        f"{' '.join(sentence for sentence in collapsed if sentence)}".rstrip(),
        columns=["rule", "mean", "fewest", "usual", "most", "share %", "entropy"],
        rows=rows,
    )


def _shares(spent: Mapping[str, Spent]) -> Curves:
    series = []
    places = range(1, max(max(one.loops.shares) for one in spent.values()) + 1)
    for name, one in spent.items():
        shares = [100 * one.loops.shares.get(loops, 0.0) for loops in places]
        series.append(Series(name, list(places), shares))
    return Curves(
        "How many units get how many loops",
        "Of the held-out units that count.",
        x_label="loops",
        y_label="share of the units, %",
        series=series,
    )


def _correlations(spent: Mapping[str, Spent], kinds: list[str]) -> TableExhibit:
    rows: list[list[Cell]] = []
    undefined: list[str] = []
    for name, one in spent.items():
        found = [
            one.relations[kind].correlation if kind in one.relations else None for kind in kinds
        ]
        rows.append([name, *found])
        if None in found:
            undefined.append(name)
    note = (
        "Spearman's, over the units of a batch: 1 where harder units always get more loops, 0 where "
        "loops do not follow difficulty, below 0 where harder units get fewer. Difficulty is what "
        "reading at full depth gives; ± is half of the 95 % interval over batches."
    )
    if undefined:
        note += (
            f" A dash ({', '.join(undefined)}): it is not defined, because in every batch all units got "
            "as many loops or were equally difficult."
        )
    return TableExhibit(
        "Rank correlation of loops with difficulty", note, columns=["rule", *kinds], rows=rows
    )


def _by_difficulty(spent: Mapping[str, Spent], kind: str, first: bool) -> Curves:
    series = [
        Series(
            name,
            [group.percentile for group in one.relations[kind].groups],
            [group.loops.value for group in one.relations[kind].groups],
            [group.loops.margin for group in one.relations[kind].groups],
        )
        for name, one in spent.items()
        if kind in one.relations
    ]
    about = (
        f"Units in {GROUPS} groups from the easiest to the hardest, equally difficult ones in the same "
        "group; bars are 95 % intervals over batches."
    )
    return Curves(
        f"Loops by difficulty: {kind}",
        about if first else "",
        x_label=f"{kind}: % of the units that are easier",
        y_label="loops",
        series=series,
    )

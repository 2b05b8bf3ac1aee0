"""What is said of a table: controls that are missing, runs that failed, one seed, a tie."""

import math
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from loopverse.compare.findings import Findings, findings
from loopverse.compare.study import Arm
from loopverse.compare.table import Row, as_csv, read_csv, write_table
from loopverse.compare.telling import across, exhibits, in_words, multipliers
from loopverse.exhibit import Estimate, TableExhibit

ONCE, LAYER = 40_000, 60_000


def row(kind: str, loops: int, seed: int, value: float, **others: Any) -> Row:
    """A run whose parameters and FLOPs are those of a model of 40k parameters and layers of 60k."""
    layers = loops if kind == "untied" else 1
    flops = float(ONCE + loops * LAYER)
    known = Row(
        group="toy",
        arm=str(Arm(kind, loops)),
        kind=kind,
        loops=loops,
        seed=seed,
        rate=1.0,
        steps=100,
        state="finished",
        reason="",
        metric="bits",
        value=value,
        seconds=1.0,
        parameters=ONCE + layers * LAYER,
        outside=0,
        applied=ONCE + loops * LAYER,
        forward_flops=flops,
        training_flops=300 * flops,
        memory=1000 * loops,
        joules=5.0 * loops,
        folder="runs/x",
    )
    return replace(known, **others)


def study(seeds: int = 3, noise: float = 0.001, worth: float = 0.5) -> list[Row]:
    """`r` loops are as good as `r ** worth` layers; the loss falls with the logarithm of the size."""
    rng = random.Random(1)
    shake = [rng.gauss(0, noise) for _ in range(100)]

    def loss(layers: float) -> float:
        return 3 - 0.2 * math.log(ONCE + layers * LAYER)

    rows = []
    for seed in range(seeds):
        rows += [row("tied", n, seed, loss(n**worth) + shake[10 * seed + n]) for n in (1, 2, 4)]
        rows += [row("untied", n, seed, loss(n) + shake[10 * seed + n + 5]) for n in (2, 4)]
    return rows


def of(rows: list[Row]) -> Findings:
    (found,) = findings(rows)
    return found


def test_what_loops_are_worth_is_found() -> None:
    found = of(study())
    four = found.arm("4 loops")
    assert four is not None
    assert four.worth is not None
    assert four.worth.parameters.value == pytest.approx(ONCE + 2 * LAYER, rel=0.05)
    assert (four.against_once, four.against_untied) == ("better", "worse")
    assert found.exponent is not None
    assert found.exponent.value == pytest.approx(0.5, abs=0.05)
    said = " ".join(in_words(found))
    assert "4 loops: stands for 1.6" in said
    assert "better than 1 loop, worse than the untied model of equal FLOPs" in said
    assert not found.lacking


def test_a_tie_is_no_verdict() -> None:
    found = of(study(worth=0.0, noise=0.01))
    four = found.arm("4 loops")
    assert four is not None
    assert four.against_once == "not told"
    assert "not told apart from 1 loop" in " ".join(in_words(found))


def test_one_seed_has_no_intervals() -> None:
    found = of(study(seeds=1))
    assert found.stop is None
    assert all(arm.loss.low is None for arm in found.arms)
    assert "One seed: there are no intervals" in " ".join(in_words(found))
    table = next(one for one in exhibits(found) if isinstance(one, TableExhibit))
    assert all(
        cell.margin is None for line in table.rows for cell in line if isinstance(cell, Estimate)
    )
    assert "(one seed)" in " ".join(in_words(found))


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("1 loop", "The control of equal parameters, 1 loop, has no result."),
        ("4 loops, untied", "The control of equal FLOPs for 4 loops has no result."),
    ],
)
def test_a_missing_control_is_said_to_be_missing(gone: str, said: str) -> None:
    found = of([one for one in study() if one.arm != gone])
    assert said in in_words(found)


def test_without_baselines_there_are_no_equivalent_parameters() -> None:
    found = of([one for one in study() if one.kind != "untied"])
    assert all(arm.worth is None for arm in found.arms)
    assert "untied models of at least two sizes" in " ".join(in_words(found))


def test_a_run_that_failed_is_a_row_with_its_reason() -> None:
    rows = study()
    bad = replace(rows[0], state="failed", reason="the loss is nan", value=math.nan)
    found = of([bad, *rows[1:]])
    assert [one.reason for one in found.failed] == ["the loss is nan"]
    assert "1 run has no result: 1 loop, seed 0: the loss is nan." in in_words(found)
    once = found.arm("1 loop")
    assert once is not None
    assert once.runs == 2


def test_a_group_without_a_result_says_so() -> None:
    found = of([replace(one, state="missing", value=math.nan) for one in study()])
    assert in_words(found)[0] == "No run has a result."
    assert exhibits(found) == []


def test_metrics_are_not_mixed() -> None:
    rows = study()
    with pytest.raises(ValueError, match="measured in bits and nats, which cannot be compared"):
        findings([replace(rows[0], metric="nats"), *rows[1:]])


def test_groups_share_a_table_and_a_plot() -> None:
    rows = study()
    others = [replace(one, group="other", value=5 * one.value, metric="error") for one in rows]
    found = findings([*rows, *others])
    table = across(found)
    assert [line[0] for line in table.rows] == ["toy", "toy", "other", "other"]
    assert [line[2] for line in table.rows[:2]] == [line[2] for line in table.rows[2:]]
    plot = multipliers(found)
    assert plot is not None
    assert [series.name for series in plot.series] == ["toy", "other"]


def test_flops_to_the_loss_of_the_model_without_loops() -> None:
    """It gets there with a quarter of the FLOPs."""
    rows = study(seeds=2)
    curves: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for one in rows:
        pace = 4.0 if one.arm == "4 loops" else 1.0
        curves[one.group, one.arm, one.seed] = [(n, 10 - pace * n) for n in (0.0, 1.0, 2.0)]
    (found,) = findings(rows, curves)
    four, once = found.arm("4 loops"), found.arm("1 loop")
    assert four is not None
    assert once is not None
    assert four.to_target == pytest.approx(0.25)
    assert once.to_target == pytest.approx(1)


def test_columns_can_be_read_with_their_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = study()
    write_table(rows, tmp_path)
    table = parquet.read_table(tmp_path / "runs.parquet")
    assert table.to_pylist() == [asdict(one) for one in rows]
    assert str(table.schema.field("value").type) == "double"
    assert read_csv(tmp_path / "runs.csv") == rows


def test_loops_that_were_drawn_stand_in_the_table_beside_fixed_ones() -> None:
    drawn = [row("drawn", 4, seed, 3.0 + 0.001 * seed) for seed in range(3)]
    (found,) = findings([*study(), *drawn])
    rows = {one[1]: one for one in across([found]).rows}
    assert "4, drawn" in rows
    assert rows["4, drawn"][0] == rows["4"][0]


def test_the_table_comes_back_from_its_file(tmp_path: Path) -> None:
    rows = [*study(), row("tied", 8, 0, math.inf, reason='a, "b"', state="failed")]
    (tmp_path / "runs.csv").write_text(as_csv(rows))
    assert read_csv(tmp_path / "runs.csv") == rows

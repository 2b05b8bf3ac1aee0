"""The table of quality: likelihoods as ratios over texts, and its file."""

import math
from pathlib import Path

import pytest

from loopverse.analysis.quality import Quality, QualityTable


def row(**changes: object) -> Quality:
    values: dict = {
        "loops": 1,
        "steps": 4,
        "blocks": 12.0,
        "seconds": 0.5,
        "nats": [4.0, 2.0, 0.0],
        "tokens": [2.0, 2.0, 0.0],
        "sizes": [4, 8, 0],
        "entropies": [1.0, 2.0, 0.0],
        "distinct": [0.5, 1.0, math.nan],
    }
    return Quality(**{**values, **changes})


def table(*rows: Quality) -> QualityTable:
    return QualityTable("runs/judge", 7, 5, 3, ["length=4"], "cpu", list(rows))


def test_likelihoods_are_sums_over_sums_and_an_empty_text_tells_nothing() -> None:
    assert row().nats_per_token.value == pytest.approx(6 / 4)
    assert row().bits_per_byte.value == pytest.approx(6 / math.log(2) / 12)
    assert row().entropy.value == pytest.approx(1.0)


def test_the_interval_is_over_texts() -> None:
    narrow = row(nats=[2.0, 2.0, 0.0]).nats_per_token.margin
    wide = row().nats_per_token.margin
    assert narrow is not None
    assert wide is not None
    assert narrow == pytest.approx(0.0)
    assert wide > 1
    assert row(nats=[1.0], tokens=[2.0], sizes=[2]).nats_per_token.margin is None


def test_nothing_but_empty_texts_is_not_a_number() -> None:
    empty = row(nats=[0.0], tokens=[0.0], sizes=[0])
    assert math.isnan(empty.nats_per_token.value)
    assert math.isnan(empty.bits_per_byte.value)


def test_rows_are_found_by_their_loops() -> None:
    rows = [row(loops=2), row(loops=1), row(loops=2, steps=8)]
    assert table(*rows).by_loops == {1: [rows[1]], 2: [rows[0], rows[2]]}


def test_a_table_comes_back_from_its_file_not_a_number_included(tmp_path: Path) -> None:
    table(row()).save(tmp_path / "quality.json")
    assert "NaN" not in (tmp_path / "quality.json").read_text()
    again = QualityTable.load(tmp_path / "quality.json")
    assert math.isnan(again.rows[0].distinct[2])
    again.rows[0].distinct[2] = 1.0
    assert again == table(row(distinct=[0.5, 1.0, 1.0]))


@pytest.mark.parametrize("content", ["", "[]", '{"judge": ""}', '{"rows": [1]}'])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / "quality.json").write_text(content)
    with pytest.raises(ValueError, match=r"quality.json is damaged .* `loopverse evaluate "):
        QualityTable.load(tmp_path / "quality.json")

"""Rows of metrics.jsonl."""

import math
from pathlib import Path

import pytest

from loopverse.errors import UserError
from loopverse.training.rows import Rows


def test_rows_come_back_in_order_and_by_split(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "metrics.jsonl")
    assert rows.read() == []
    for step in (1, 2, 3):
        rows.append({"step": step, "split": "train", "loss": step / 3})
    rows.append({"step": 3, "split": "valid", "loss": 1.0})
    assert [row["step"] for row in rows.read("train")] == [1, 2, 3]
    assert rows.read("valid") == [{"step": 3, "split": "valid", "loss": 1.0}]


def test_rewinding_forgets_later_rows_and_a_line_that_was_cut_short(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        rows.append({"step": step, "split": "train"})
    with rows.path.open("a") as file:
        file.write('{"step": 2, "spl')
    rows.rewind(2)
    assert [row["step"] for row in rows.read()] == [1, 2]
    assert rows.path.read_text().endswith("}\n")


def test_figures_that_are_not_finite_become_null(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "metrics.jsonl")
    rows.append({"step": 1, "split": "valid", "perplexity": math.inf})
    assert rows.read() == [{"step": 1, "split": "valid", "perplexity": None}]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "metrics.jsonl")
    rows.path.write_text('{"step": 1, "split": "train"}\n{"step": 2, "spl\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged in line 2"):
        rows.read()

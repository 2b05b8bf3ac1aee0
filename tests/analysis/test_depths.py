"""The table of depths: paired differences, which depths to look at, and its file."""

import math
import random
from pathlib import Path

import pytest

from loopverse.analysis.depths import Depth, DepthTable, check_depths, usual_depths


def table(values: dict[int, list[float]], trained: int = 4) -> DepthTable:
    """A table of these headline values per batch, equally weighted."""
    count = len(next(iter(values.values())))
    depths = [
        Depth(loops, {"nats": sum(batches) / count}, batches, 1e-6, 1000.0 * loops)
        for loops, batches in values.items()
    ]
    return DepthTable("nats", trained, 10, [8.0] * count, "fp32", "cpu", depths)


def test_the_gain_is_paired_so_that_what_batches_share_does_not_blur_it() -> None:
    draw = random.Random(0)
    hard = [draw.gauss(2.0, 0.5) for _ in range(10)]
    found = table({1: [v + draw.gauss(0.05, 0.01) for v in hard], 2: hard})
    gain = found.gain(found.depths[1])
    assert gain is not None
    assert gain.value == pytest.approx(0.05, abs=0.01)
    assert gain.sure
    assert gain.margin is not None
    margin = found.value(found.depths[0]).margin
    assert margin is not None
    assert gain.margin < margin / 10


def test_a_loop_that_hurts_has_a_negative_gain() -> None:
    found = table({1: [2.0, 2.1], 2: [2.2, 2.3]})
    gain = found.gain(found.depths[1])
    assert gain is not None
    assert gain.value == pytest.approx(-0.2)


def test_the_first_row_has_nothing_before_it_and_any_row_can_be_the_reference() -> None:
    found = table({1: [2.0, 2.1], 2: [1.9, 2.0], 8: [1.8, 1.9]}, trained=4)
    assert found.gain(found.depths[0]) is None
    assert found.reference.loops == 2
    gain = found.gain(found.depths[0], found.reference)
    assert gain is not None
    assert gain.value == pytest.approx(-0.1)


def test_the_interval_lies_around_the_metric_over_all_batches() -> None:
    found = table({1: [2.0, 2.2]})
    found.depths[0].metrics["nats"] = 2.15  # such as a perplexity, which is no mean over batches
    assert found.value(found.depths[0]).value == 2.15


def test_one_batch_gives_values_without_intervals() -> None:
    found = table({1: [2.0], 2: [1.5]})
    gain = found.gain(found.depths[1])
    assert gain is not None
    assert (gain.value, gain.margin, gain.sure) == (0.5, None, False)


def test_a_table_comes_back_from_its_file_not_a_number_included(tmp_path: Path) -> None:
    found = table({1: [2.0, math.nan], 2: [1.5, 1.25]})
    found.save(tmp_path / "evaluation.json")
    assert "NaN" not in (tmp_path / "evaluation.json").read_text()
    again = DepthTable.load(tmp_path / "evaluation.json")
    assert again.depths[1] == found.depths[1]
    assert math.isnan(again.depths[0].batches[1])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"metric": "nats"}', '{"depths": [1]}'])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, content: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"evaluation.json is damaged .* `loopverse evaluate "):
        DepthTable.load(path)


@pytest.mark.parametrize(
    ("trained", "most", "expected"),
    [
        (4, None, [1, 2, 4, 8]),
        (1, None, [1, 2]),
        (6, None, [1, 2, 4, 6, 12]),
        (6, 6, [1, 2, 4, 6]),
        (32, None, [1, 2, 4, 8, 16, 32, 64]),
    ],
)
def test_the_usual_depths_double_up_to_twice_the_trained_one(
    trained: int, most: int | None, expected: list[int]
) -> None:
    assert usual_depths(trained, most) == expected


def test_depths_are_sorted_and_taken_once() -> None:
    assert check_depths([4, 1, 4]) == [1, 4]


@pytest.mark.parametrize(
    ("loops", "complaint"),
    [
        ([], "must name at least one depth"),
        ([1, 0], "at least 1, got 0"),
        ([1, 8], "an untied core of 4 loops cannot run 8: ask for fewer"),
    ],
)
def test_impossible_depths_are_refused(loops: list[int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_depths(loops, most=4)

"""Loops against difficulty: planted truth comes out, ties and constants included."""

import math
from itertools import pairwise

import pytest
import torch

from loopverse.analysis.difficulty import distribution, rank_correlation, ranks, relation


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks(torch.tensor([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [4.0, 1.0, 4.0, 2.0, 4.0]
    assert ranks(torch.tensor([float("inf"), 0.0])).tolist() == [2.0, 1.0]
    assert ranks(torch.tensor([])).tolist() == []


def test_rank_correlation_is_pearsons_of_the_ranks_with_ties() -> None:
    loops = torch.tensor([1, 2, 2, 4, 4, 4, 3, 1])
    harder = torch.tensor([0.1, 0.5, 0.3, 2.0, 9.0, 0.3, 0.3, 0.2])
    both = torch.stack([ranks(loops.float()), ranks(harder)])
    expected = float(torch.corrcoef(both)[0, 1])
    assert rank_correlation(loops.float(), harder) == pytest.approx(expected, abs=1e-12)
    # By hand: 1 - 6 sum(d^2) / (n (n^2 - 1)) holds where there are no ties.
    one, other = torch.tensor([1.0, 2, 3, 4, 5]), torch.tensor([2.0, 1, 4, 3, 5])
    assert rank_correlation(one, other) == pytest.approx(1 - 6 * 4 / (5 * 24))


def test_rank_correlation_does_not_care_how_far_apart_values_are() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert rank_correlation(values, values.exp() ** 3) == pytest.approx(1)
    assert rank_correlation(values, -values.exp()) == pytest.approx(-1)


@pytest.mark.parametrize("constant", [torch.full((9,), 4.0), torch.tensor([1.0]), torch.tensor([])])
def test_a_constant_has_no_rank_correlation(constant: torch.Tensor) -> None:
    varied = torch.arange(float(len(constant)))
    assert rank_correlation(constant, varied) is None
    assert rank_correlation(varied, constant) is None


def planted(share: float, batches: int = 12, units: int = 400) -> tuple[list, list]:
    """Loops that follow difficulty with this probability, and are drawn at random otherwise."""
    rng = torch.Generator().manual_seed(1)
    loops, harder = [], []
    for _ in range(batches):
        difficulty = torch.rand(units, generator=rng)
        follows = torch.rand(units, generator=rng) < share
        drawn = torch.where(follows, difficulty, torch.rand(units, generator=rng))
        loops.append((drawn * 4).long() + 1)
        harder.append(difficulty)
    return loops, harder


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_interval_holds_a_planted_correlation(share: float) -> None:
    """Of a mixture, the share that follows times the correlation of four levels with what they cut."""
    found = relation(*planted(share)).correlation
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    levels = math.sqrt(15 / 16)
    assert found.low - 0.01 <= share * levels <= found.high + 0.01
    assert found.sure == (share > 0)


def test_loops_rise_from_group_to_group_where_they_follow_difficulty() -> None:
    groups = relation(*planted(0.9)).groups
    assert [round(group.percentile) for group in groups] == list(range(5, 100, 10))
    means = [group.loops.value for group in groups]
    assert all(later > earlier - 0.1 for earlier, later in pairwise(means))
    assert means[-1] - means[0] > 2
    assert all(group.loops.margin is not None for group in groups)
    flat = relation(*planted(0.0)).groups
    assert all(abs(group.loops.value - 2.5) < 0.3 for group in flat)


def test_equally_difficult_units_are_in_one_group() -> None:
    harder = [torch.tensor([0.0] * 50 + [1.0] * 50)]
    groups = relation([torch.tensor([1] * 50 + [3] * 50)], harder).groups
    assert [(group.percentile, group.loops.value) for group in groups] == [(25.0, 1.0), (75.0, 3.0)]


def test_batches_without_a_correlation_are_left_out_and_counted() -> None:
    loops, harder = planted(1.0, batches=3)
    alone = relation(loops, harder)
    with_constant = relation([*loops, torch.full((400,), 4)], [*harder, torch.rand(400)])
    assert with_constant.correlation == alone.correlation
    assert (alone.num_batches, with_constant.num_batches) == (3, 3)
    nothing = relation([torch.full((9,), 4)] * 2, [torch.rand(9)] * 2)
    assert (nothing.correlation, nothing.num_batches) == (None, 0)


def test_a_unit_without_this_difficulty_is_left_out() -> None:
    nan = float("nan")
    found = relation([torch.tensor([1, 2, 9, 3])], [torch.tensor([0.1, 0.2, nan, 0.3])])
    assert found.correlation is not None
    assert found.correlation.value == pytest.approx(1)
    assert found.groups[-1].loops.value == 3


def test_the_distribution_says_how_many_units_got_how_many_loops() -> None:
    found = distribution([torch.tensor([1, 1, 2, 4]), torch.tensor([], dtype=torch.long)])
    assert found.shares == {1: 0.5, 2: 0.25, 4: 0.25}
    assert found.entropy == pytest.approx(1.5)
    assert (found.usual, found.mean.value, found.collapsed) == (1, 2.0, False)
    several = distribution([torch.tensor([1, 1, 1]), torch.tensor([4])])
    assert several.mean.value == 1.75
    assert several.mean.margin is not None
    with pytest.raises(ValueError, match="units that count"):
        distribution([])


@pytest.mark.parametrize(("other", "collapsed"), [(4, True), (5, False), (0, True)])
def test_more_than_95_percent_at_one_depth_is_a_collapse(other: int, collapsed: bool) -> None:
    found = distribution([torch.tensor([3] * (100 - other) + [1] * other)])
    assert found.collapsed == collapsed
    assert (found.entropy == 0) == (other == 0)

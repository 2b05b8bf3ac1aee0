"""Budgets share out the mean number of loops and no more."""

import pytest
import torch

from loopverse.depth import Decreasing, Even, Increasing, LoopBudget, Peaked, Table

PLACES = (torch.arange(1000) + 0.5) / 1000


@pytest.mark.parametrize("budget", [Even(), Decreasing(), Increasing(1.0), Peaked(), Peaked(0.0)])
@pytest.mark.parametrize("mean", [1, 4, 12])
def test_a_budget_spends_the_mean(budget: LoopBudget, mean: int) -> None:
    loops = budget.loops(mean, PLACES)
    assert int(loops.min()) >= 1
    assert float(budget.share(PLACES.double()).mean()) == pytest.approx(1, abs=1e-6)
    # rounding and the least of one loop are all that may be off
    assert float(loops.double().mean()) == pytest.approx(mean, abs=0.3)
    assert budget.largest(mean) == int(budget.loops(mean, torch.linspace(0, 1, 1001)).max())


def test_each_budget_has_the_shape_it_is_named_after() -> None:
    ends = torch.tensor([0.0, 0.5, 1.0])
    assert Even().loops(8, ends).tolist() == [8, 8, 8]
    assert Decreasing(0.5).loops(8, ends).tolist() == [12, 8, 4]
    assert Increasing(0.5).loops(8, ends).tolist() == [4, 8, 12]
    assert Peaked(0.5).loops(8, ends).tolist() == [4, 12, 4]
    assert Decreasing(1.0).loops(8, ends).tolist() == [16, 8, 1]


def test_a_table_is_followed_to_the_letter() -> None:
    places = torch.tensor([0.0, 0.33, 0.34, 0.67, 1.0])
    assert Table([5, 1, 3]).loops(99, places).tolist() == [5, 5, 1, 3, 3]


@pytest.mark.parametrize("make", [lambda: Table([]), lambda: Table([2, 0]), lambda: Peaked(1.5)])
def test_a_budget_that_cannot_be_is_refused(make) -> None:
    with pytest.raises(ValueError, match="budget\\."):
        make()

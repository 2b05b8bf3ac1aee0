"""Votes over loops: held against counting by hand, and refused where not all readouts are known."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loops_planted import WIDTH, planted
from torch import Tensor
from torch.distributions import Categorical, Normal

from loopverse.depth import Average, FixedPoint, Last, Majority, Vote
from loopverse.domain import SampleSettings
from loopverse.nn import Attend, CoreInput
from loopverse.training.use import Use, read_use


def read(z: Tensor) -> Categorical:
    return Categorical(logits=z)


@given(
    seed=st.integers(0, 1000),
    count=st.integers(1, 6),
    loops=st.integers(0, 6),
    values=st.integers(2, 4),
)
def test_the_majority_is_that_of_counting_and_the_latest_says_it(
    seed: int, count: int, loops: int, values: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    readouts = list(torch.randn(count, 2, 3, values, generator=rng))
    chosen = Majority(loops).choose(readouts, read)
    voters = readouts[-loops:] if loops else readouts
    for row in range(2):
        for unit in range(3):
            modes = [int(one[row, unit].argmax()) for one in voters]
            counted = Counter(modes)
            best = max(counted.values())
            latest = max(n for n, mode in enumerate(modes) if counted[mode] == best)
            assert torch.equal(chosen[row, unit], voters[latest][row, unit])


def test_the_average_is_the_mean_of_the_last_so_many() -> None:
    readouts = [torch.full((1, 1, 2), float(n)) for n in range(4)]
    assert Average().choose(readouts, read).unique().tolist() == [1.5]
    assert Average(loops=2).choose(readouts, read).unique().tolist() == [2.5]
    assert Last().choose(readouts, read).unique().tolist() == [3.0]


def test_there_is_no_majority_of_numbers() -> None:
    with pytest.raises(ValueError, match="use vote=average"):
        Majority().choose([torch.zeros(1, 2, 3)], lambda z: Normal(z[..., 0], 1.0))


@pytest.mark.parametrize("kind", [Average, Majority])
def test_a_number_of_loops_below_zero_is_refused(kind: type[Average]) -> None:
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        kind(loops=-1)


def lost_again(z: Tensor, e: Tensor, loop: int) -> Tensor:
    """Right in the first three loops, wrong in the fourth."""
    return e if loop < 3 else -e


@torch.no_grad()
@pytest.mark.parametrize(
    ("vote", "right"), [(Last(), False), (Majority(), True), (Average(), True)]
)
def test_a_vote_saves_what_the_last_loop_loses(vote: Vote, right: bool) -> None:
    model = planted(lost_again)
    batch = next(model.adapter.batches("valid", batch_size=4, seed=0))
    outcome = model.adapter(model.bind(4, vote=vote), batch)
    correct = model.adapter.correct(outcome, batch)
    assert correct is not None
    assert bool((correct == right).all())


def test_a_vote_with_a_rule_that_ends_loops_early_is_refused() -> None:
    model = planted(lost_again)
    inputs = CoreInput(torch.zeros(1, 2, WIDTH), Attend())
    with pytest.raises(ValueError, match="choose one of the two"):
        model.bind(4, vote=Average(), halting=FixedPoint())(inputs)


def test_votes_are_chosen_by_name() -> None:
    use = read_use(SampleSettings, ["vote=average", "vote.loops=3"])
    assert use.vote == Average(loops=3)
    assert isinstance(Use(SampleSettings()).vote, Last)
    with pytest.raises(ValueError, match="did you mean"):
        read_use(SampleSettings, ["vote=majorty"])

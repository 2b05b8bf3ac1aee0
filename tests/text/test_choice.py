"""Choice: the draws follow the distribution in full precision, and belong to rows."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loopverse.text import Draws, choose, source

Choose = Callable[..., Tensor]

SCORES = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15]).log()


def shares(num: int = 20_000, **settings: float) -> Tensor:
    """How often each token is drawn."""
    draws = Draws(0).uniform(torch.tensor([0]), num)[0]
    drawn = choose(SCORES.expand(num, -1), draws, **settings)
    return torch.bincount(drawn, minlength=len(SCORES)) / num


def test_draws_follow_the_distribution() -> None:
    assert torch.allclose(shares(), SCORES.exp(), atol=0.01)


def test_temperature_sharpens() -> None:
    assert torch.allclose(shares(temperature=0.5), (SCORES / 0.5).softmax(-1), atol=0.01)


@pytest.mark.parametrize(
    ("style", "allowed"),
    [
        ({"top_k": 1}, [1]),
        ({"top_k": 2}, [1, 3]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.3}, [1]),
        ({"top_p": 0.6}, [1, 3]),
        ({"top_p": 0.8}, [1, 3, 4]),
        ({"top_k": 3, "top_p": 0.8}, [1, 3]),
        ({"temperature": 0}, [1]),
    ],
)
def test_top_k_and_top_p_leave_only_the_likely_tokens(style: dict[str, float], allowed) -> None:
    expected = torch.zeros(5)
    expected[allowed] = SCORES.exp()[allowed]
    assert torch.allclose(shares(**style), expected / expected.sum(), atol=0.01)


def draws_in_full_precision(choose: Choose) -> None:
    """A token of probability 2^-k is drawn by 2^-k of all draws: by the last, the rarest being last."""
    for k in range(10, 46):
        rare = 2.0**-k
        scores = torch.tensor([[rare, 1 - rare, 0.0]], dtype=torch.double).log()
        for inside, expected in ((0.5, 0), (2.0, 1)):
            draw = torch.tensor([1 - inside * rare], dtype=torch.double)
            found = int(choose(scores, draw))
            assert found == expected, f"at 1 - {inside} x 2^-{k}: token {found}, not {expected}"


def single_precision(scores: Tensor, draws: Tensor, **_: float) -> Tensor:
    """The bug: uniform numbers of 24 bits."""
    return choose(scores, draws.float().clamp(max=1 - 2.0**-24).double())


def gumbel(scores: Tensor, draws: Tensor, **_: float) -> Tensor:
    """The bug of Zheng et al. 2409.02908: no noise in float32 is above 16.7."""
    noise = torch.rand(scores.shape, generator=torch.Generator().manual_seed(0))
    return (scores.float() - (-noise.log()).log()).argmax(dim=-1)


def test_draws_have_the_precision_of_float64() -> None:
    draws_in_full_precision(choose)


@pytest.mark.parametrize("planted", [single_precision, gumbel])
def test_a_draw_in_float32_is_found(planted: Choose) -> None:
    with pytest.raises(AssertionError, match="x 2\\^-"):
        draws_in_full_precision(planted)


@settings(max_examples=50, deadline=None)
@given(
    forbidden=st.lists(st.booleans(), min_size=2, max_size=6).filter(lambda all_: not all(all_)),
    draw=st.sampled_from([0.0, 0.5, 1 - 2.0**-53]),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    seed=st.integers(0, 99),
)
def test_what_has_no_probability_is_never_chosen(forbidden, draw, temperature, seed) -> None:
    scores = 20 * torch.randn(len(forbidden), generator=torch.Generator().manual_seed(seed))
    scores = scores.masked_fill(torch.tensor(forbidden), -torch.inf)
    token = choose(scores, torch.tensor(draw, dtype=torch.double), temperature=temperature)
    assert not forbidden[int(token)]


def test_a_row_draws_the_same_in_any_batch() -> None:
    together, alone = Draws(5), Draws(5)
    rows = torch.tensor([4, 0, 7])
    for count in (1, 3, 2):
        expected = together.uniform(rows, count)
        assert torch.equal(alone.uniform(torch.tensor([0]), count), expected[1:2])
    assert len(expected.unique()) == 6
    places = torch.tensor([[True, True, False], [True, False, True], [False, False, False]])
    expected = together.at(rows, places)
    wider = torch.tensor([[False, True, False, False, True]])
    assert torch.equal(alone.at(torch.tensor([0]), wider)[wider], expected[1][places[1]])
    assert torch.equal(expected != 0, places)
    assert torch.equal(together.uniform(rows, 1)[1:2], alone.uniform(torch.tensor([0]), 1))


def test_generators_of_others_serve_as_well() -> None:
    ours, theirs = Draws(3), Draws.of([source(3, 0), source(3, 1)])
    rows = torch.tensor([1, 0])
    assert torch.equal(ours.uniform(rows, 4), theirs.uniform(rows, 4))


def test_the_draws_of_a_seed_never_change() -> None:
    """Samples in the docs can be made again."""
    draws = Draws(0).uniform(torch.tensor([0, 1]), 2)
    assert draws.dtype == torch.double
    expected = [
        [0.9181114279481885, 0.005940283354313625],
        [0.04046133443618527, 0.48118492563722437],
    ]
    assert draws.tolist() == expected

"""Returns of the next steps, and the network that learns them."""

from typing import Any

import pytest
import torch
from domains.world_model.models import adapter_of, make_model
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from tensordict import TensorDict

from loopverse.depth import Full
from loopverse_world_model import WorldModelConfig
from loopverse_world_model.planning import CategoricalCEM
from loopverse_world_model.planning.agent import PlanningPolicy
from loopverse_world_model.terminal_value import Returns, TerminalValue


def episodes(lengths: list[int], terminated: list[bool], seed: int) -> TensorDict:
    """Records of episodes with rewards drawn at random, zero in the last record of each."""
    torch.manual_seed(seed)
    number = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths) + 1)
    ends = (torch.tensor(lengths) + 1).cumsum(0) - 1
    reward, end = torch.randn(len(number)), torch.zeros(len(number), dtype=torch.bool)
    reward[ends] = 0
    end[ends - 1] = torch.tensor(terminated)
    return TensorDict({"episode": number, "reward": reward, "terminated": end}, [len(number)])


@examples(30)
@given(st.data())
def test_returns_equal_the_sum_of_what_came(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    terminated = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    steps = data.draw(st.integers(1, 8))
    records = episodes(lengths, terminated, seed=0)
    returns = Returns.of(records, steps)
    record = 0
    for length, ended in zip(lengths, terminated, strict=True):
        rewards = records["reward"][record : record + length]
        for step in range(length + 1):
            assert bool(returns.known[record]) == (ended or step + steps <= length)
            if returns.known[record]:
                expected = rewards[step : step + steps].sum()
                torch.testing.assert_close(returns.value[record], expected, atol=1e-5, rtol=1e-5)
            record += 1


def test_returns_of_windows_are_those_of_their_records_and_unknown_behind_an_end() -> None:
    returns = Returns.of(episodes([4, 3], [True, False], seed=1), 2)
    value, known = returns.windows(torch.tensor([0, 2, 5]), 3)
    assert torch.equal(value[0], returns.value[:4])
    assert torch.equal(known[1], torch.tensor([True, True, True, False]))  # records 2, 3, 4, behind
    assert torch.equal(known[2], torch.tensor([True, True, False, False]))  # cut off: 5, 6, no more


def test_batches_for_training_hold_returns_and_those_for_evaluation_do_not() -> None:
    adapter = adapter_of(make_model(value_steps=3, imagine="markov"))
    batch = next(adapter.batches("train", batch_size=8, seed=0))
    records = adapter.source.replay.records
    expected = Returns.of(records, 3)
    first = batch["id"]
    assert torch.equal(batch["return"][:, 0], expected.value[first])
    assert batch["return"].shape == batch["observation", "value"].shape[:2]
    assert "return" not in next(adapter.batches("valid", batch_size=8, seed=0))


def test_a_terminal_value_teaches_the_rest_of_the_network_nothing() -> None:
    alone, beside = (make_model("image", imagine="markov", value_steps=n).train() for n in (0, 3))
    beside.load_state_dict(alone.state_dict(), strict=False)
    assert adapter_of(alone).source  # whose opening measures the scale of the data
    batch = next(adapter_of(beside).batches("train", batch_size=8, seed=0))
    for model in (alone, beside):
        model(batch, 2, Full(), torch.Generator().manual_seed(0)).loss.backward()
    given = {name: parameter.grad for name, parameter in beside.named_parameters()}
    for name, parameter in alone.named_parameters():
        assert torch.allclose(parameter.grad, given.pop(name), atol=1e-6)
    assert given
    assert all(bool(gradient.any()) for gradient in given.values())


def test_the_upper_returns_are_learned_and_hope_where_nothing_was_seen() -> None:
    """Two places: from the one, half of the episodes brought 10 and half 50; from the other, all 0."""
    torch.manual_seed(0)
    value = TerminalValue(2)
    places = torch.tensor([[-1.0, -1.0], [1.0, 1.0]]).repeat_interleave(64, 0)
    seen = places + 0.1 * torch.randn(128, 2)
    brought = torch.cat([torch.tensor([10.0, 50.0]).repeat(32), torch.zeros(64)])
    known = torch.ones(128, dtype=torch.bool)
    value.fit(Returns(brought, known, torch.zeros(128).long()))
    optimizer = torch.optim.Adam(value.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        value.loss(seen, brought, known).backward()
        optimizer.step()
    with torch.no_grad():
        several, nothing, unseen = value(torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-1.5, 1.5]]))
    # The expectile of two returns: 0.9 (50 - v) = 0.1 (v - 10).
    assert float(several) == pytest.approx(46, abs=2.5)
    assert float(nothing) < 5
    assert float(unseen) > 35
    far = value(100 * torch.randn(50, 2)).detach()
    assert bool((far >= 0).all())
    assert bool((far <= 50).all())


def test_what_is_not_known_is_not_learned_from() -> None:
    value = TerminalValue(2)
    seen, brought = torch.randn(6, 2), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 900.0])
    known = torch.tensor([True] * 5 + [False])
    value.fit(Returns(brought, known, torch.zeros(6).long()))
    assert (float(value.low), float(value.high)) == (1, 5)
    losses = []
    for last in (900.0, -900.0):
        torch.manual_seed(0)
        brought[-1] = last
        losses.append(float(value.loss(seen, brought, known).detach()))
    assert losses[0] == losses[1]


def test_a_planner_is_told_of_a_terminal_value_where_one_was_trained() -> None:
    for steps in (0, 4):
        model = make_model(imagine="markov", value_steps=steps)
        policy = PlanningPolicy(adapter_of(model), model.bind, 1, CategoricalCEM(2, 4, 1, 2))
        assert (policy.world.terminal_value is not None) == (steps > 0)
        if policy.world.terminal_value is not None:
            memory = policy.usual.begin(3)
            value = adapter_of(model).dynamics.terminal_value
            assert value is not None
            assert torch.equal(policy.world.terminal_value(memory), value(memory.seen))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"value_steps": 5, "imagine": "latent"},
            "choose domain.imagine=decoded or markov with it",
        ),
        ({"value_steps": -1}, "domain.value_steps must not be negative, got -1"),
    ],
)
def test_a_value_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorldModelConfig(**settings)

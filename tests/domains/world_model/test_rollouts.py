"""Long imagined rollouts: what expands is caught, what contracts is measured, nothing else is claimed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from domains.world_model.models import adapter_of, make_model
from domains.world_model.planted import adapter_for, thinking, walker, walks
from gymnasium import spaces
from torch import Tensor

from loopverse.domain import Think
from loopverse_world_model import WorldModel
from loopverse_world_model.actions import ActionCodec
from loopverse_world_model.evaluation import rollouts
from loopverse_world_model.evaluation.rollouts import random_actions
from loopverse_world_model.spaces import leaves_of


def scaling(factor: float) -> Callable[[int], Think]:
    """A core whose loop multiplies the state, from one at first."""

    def think_at(loops: int) -> Think:
        def change(x: Tensor, carry: Tensor | None) -> Tensor:
            return (torch.ones_like(x) if carry is None else carry) * factor**loops

        return thinking(change)

    return think_at


@pytest.fixture
def walking() -> WorldModel:
    """A model that shows channel 0 of its state, which nothing is read into."""
    records = walks([20])
    adapter, _ = walker(records, imagine="latent")
    with torch.no_grad():
        adapter.dynamics.act.weight.zero_()
    adapter.dynamics.requires_grad_(False)
    return adapter


def test_a_planted_expanding_map_is_caught(walking: WorldModel) -> None:
    records = walks([20])
    one, two = rollouts(walking, scaling(1.1), [1, 2], num=5, steps=100, records=records)
    assert one.norm.shape == (100, 5)
    steps = torch.arange(1, 101)
    assert torch.allclose(one.norm[:, 0].log(), steps * torch.tensor(1.1).log(), rtol=1e-4)
    assert torch.allclose(two.norm[:, 0].log(), 2 * steps * torch.tensor(1.1).log(), rtol=1e-4)
    assert bool(one.left.all())
    assert one.gains.tolist() == pytest.approx([1.1] * 15, rel=1e-3)  # at steps 1, 10 and 100
    assert two.gains.tolist() == pytest.approx(
        [1.1] * 15, rel=1e-3
    )  # of one loop, whatever their number


def test_a_contracting_map_stays(walking: WorldModel) -> None:
    (found,) = rollouts(walking, scaling(0.5), [1], num=4, steps=50, records=walks([20]))
    assert not bool(found.left.any())
    assert found.gains.max() == pytest.approx(0.5, rel=1e-3)
    assert float(found.norm[-1].max()) < 1e-6


def test_what_is_not_finite_has_left(walking: WorldModel) -> None:
    (found,) = rollouts(walking, scaling(1e6), [1], num=3, steps=30, records=walks([20]))
    assert not bool(found.norm[-1].isfinite().any())
    assert bool(found.left.all())
    assert bool(found.gains.isfinite().all())


def test_ten_times_the_range_is_counted_from_its_middle(walking: WorldModel) -> None:
    """Channel 0 is the first number, plus where it began; the range is set to what it must not leave."""
    leaf: Any = walking.dynamics.leaves["value"]
    records = walks([20])
    records["observation", "value"][:] = 100.0
    leaf.low.copy_(torch.tensor([90.0, 0.0]))  # the middle is 95, the range 5 to either side
    leaf.high.copy_(torch.tensor([100.0, 1e6]))

    def drifting(size: float) -> Callable[[int], Think]:
        return lambda _: thinking(lambda x, __: torch.full_like(x, size))

    for size, left in ((44.9, False), (45.1, True), (-54.9, False), (-55.1, True)):
        (found,) = rollouts(walking, drifting(size), [1], num=2, steps=1, records=records)
        assert found.left.tolist() == [left, left]


def test_leaving_after_the_end_is_told_from_leaving_before_it(walking: WorldModel) -> None:
    with torch.no_grad():
        walking.dynamics.going.bias.fill_(-5.0)
    (found,) = rollouts(walking, scaling(1.5), [1], num=3, steps=50, records=walks([20]))
    assert bool(found.left.all())
    assert not bool(found.left_going.any())
    with torch.no_grad():
        walking.dynamics.going.bias.fill_(5.0)
    (found,) = rollouts(walking, scaling(1.5), [1], num=3, steps=50, records=walks([20]))
    assert bool(found.left_going.all())


def test_every_depth_sees_the_same_starts_and_actions() -> None:
    """A core that does not care for the number of loops does the same at each."""
    records = walks([20, 20])
    adapter, think = walker(records)
    one, other = rollouts(adapter, lambda _: think, [1, 4], num=6, steps=20, records=records)
    assert torch.equal(one.norm, other.norm)
    assert torch.equal(one.spread, other.spread)
    assert len(one.norm[5].unique()) == 6  # and every rollout has its own


def test_the_spread_is_that_of_the_predictions_over_the_rollouts() -> None:
    """Of walks under random pushes it grows with the root of time."""
    records = walks([50] * 4)
    adapter, think = walker(records)
    (found,) = rollouts(adapter, lambda _: think, [1], num=200, steps=200, records=records)
    leaf: Any = adapter.dynamics.leaves["value"]
    start = records["observation", "value"]
    pushes = torch.tensor([1.0, 2.0]) * (200 / 3) ** 0.5  # a push is uniform: its variance is 1/3
    expected = ((start.var(0) + pushes.square()).sqrt() / leaf.std).mean()
    assert float(found.spread[-1]) == pytest.approx(float(expected), rel=0.15)


@pytest.mark.parametrize("space", ["nested", "image"])
def test_a_world_without_numbers_or_of_many_kinds_is_rolled_out(space: str) -> None:
    model = make_model(space)
    adapter = adapter_of(model)
    (found,) = rollouts(adapter, model.bind, [2], num=5, steps=11)
    assert found.norm.shape == (11, 5)
    assert len(found.spread) == (0 if space == "image" else 11)
    assert len(found.gains) == 2 * 5


@pytest.mark.parametrize(
    "space",
    [spaces.Box(-3, 3, (2,)), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)],
    ids=str,
)
def test_random_actions_are_all_that_can_be_done(space: spaces.Space) -> None:
    codec = ActionCodec(leaves_of(space, "action"))
    encoded = random_actions(codec, 3000, torch.Generator().manual_seed(0))
    raw = codec.decode(encoded)
    assert all(action in space for action in raw)
    if isinstance(space, spaces.Box):
        assert raw.std(0) == pytest.approx([3**0.5] * 2, rel=0.05)
    else:
        counts = codec.encode(raw).mean(0)
        sizes = codec.sizes or ()
        assert counts.tolist() == pytest.approx(
            [1 / size for size in sizes for _ in range(size)], abs=0.03
        )


def test_categories_alone_leave_only_with_the_state() -> None:
    adapter = adapter_for(spaces.Discrete(3))
    records = walks([9])
    records["observation"] = {"value": torch.arange(10) % 3}
    for factor, left in ((2.0, False), (1e30, True)):
        (found,) = rollouts(adapter, scaling(factor), [1], num=2, steps=5, records=records)
        assert found.left.tolist() == [left, left]


def test_a_single_number_can_leave() -> None:
    adapter = adapter_for(spaces.Box(-1e9, 1e9, ()))
    records = walks([9])
    records["observation"] = {"value": torch.arange(10.0)}
    adapter.dynamics.fit(records)
    (found,) = rollouts(adapter, scaling(1e9), [1], num=3, steps=2, records=records)
    assert found.left.tolist() == [True] * 3
    assert found.spread.shape == (2,)

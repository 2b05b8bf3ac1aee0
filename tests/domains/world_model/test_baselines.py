"""What a world model is compared with: exact where the world is as simple as they hold it to be."""

from typing import Any

import numpy as np
import pytest
import torch
from domains.world_model.models import adapter_of, make_model
from domains.world_model.planted import adapter_for, records_of, walks
from gymnasium import spaces
from tensordict import TensorDict

from loopverse_world_model.evaluation import LeastSquares, OpenLoop, baselines
from loopverse_world_model.evaluation.baselines import FURTHEST
from loopverse_world_model.evaluation.coordinates import ObservationCoordinates


def rivals_of(adapter: Any, records: TensorDict, horizons: list[int]) -> dict[str, OpenLoop]:
    adapter.dynamics.fit(records)
    return baselines(adapter, horizons, records=records, train=records)


def value(errors: OpenLoop, horizon: int, head: str | None = None) -> float:
    found = errors.error(horizon, head)
    assert found is not None
    return found.value


def linear_world(lengths: list[int]) -> TensorDict:
    """`o' = A o + B a + c`, which turns and shrinks; the reward is linear too."""
    rng = torch.Generator().manual_seed(0)
    turn = torch.tensor([[0.9, -0.3], [0.3, 0.9]])
    push = torch.tensor([0.5, -0.2])
    observations, actions, rewards = [], [], []
    for length in lengths:
        acted = torch.rand(length, 1, generator=rng) * 2 - 1
        rows = [torch.randn(2, generator=rng)]
        for action in acted:
            rows.append(turn @ rows[-1] + push * action + 0.1)
        observations.append(torch.stack(rows))
        actions.append(acted)
        rewards.append(observations[-1][:-1] @ torch.tensor([1.0, 2.0]) - acted[:, 0] + 4)
    return records_of(observations, actions, rewards)


def test_least_squares_is_exact_in_a_linear_world() -> None:
    records = linear_world([60, 40])
    linear = rivals_of(adapter_for(), records, [1, 20, 50])["linear"]
    for horizon in (1, 20, 50):
        assert value(linear, horizon) < 1e-5
        assert value(linear, horizon, "reward") < 1e-5


def test_least_squares_is_as_good_as_any_linear_map_at_one_step() -> None:
    """With noise: its mean square is that of the residuals of numpy's solution."""
    records = walks([50, 50], noise=0.3)
    adapter = adapter_for()
    linear = rivals_of(adapter, records, [1])["linear"]
    acted = torch.ones(102, dtype=torch.bool)
    acted[[50, 101]] = False
    followed = torch.roll(acted, 1)
    leaf: Any = adapter.dynamics.leaves["value"]
    seen = leaf.features(records["observation", "value"])
    x = torch.cat([seen[acted], records["action"][acted], torch.ones(100, 1)], 1)
    y = seen[followed]
    _, residuals, _, _ = np.linalg.lstsq(x.double().numpy(), y.double().numpy(), rcond=None)
    assert value(linear, 1) ** 2 == pytest.approx(residuals.sum() / 200, rel=1e-5)


def test_persistence_misses_by_how_far_things_have_moved() -> None:
    records = walks([30, 10], push=0.1)  # 0.1 and -0.2 a step
    adapter = adapter_for()
    still = rivals_of(adapter, records, [1, 5, 20])["persistence"]
    leaf: Any = adapter.dynamics.leaves["value"]
    for horizon in (1, 5, 20):
        moved = horizon * torch.tensor([0.1, 0.2]) / leaf.std
        expected = float(moved.square().mean().sqrt())
        assert value(still, horizon) == pytest.approx(expected, rel=1e-4)


def test_of_what_does_not_persist_the_usual_is_said() -> None:
    """The mean reward, which misses by its spread; and the share of steps that end nothing."""
    records = walks([8, 8, 8, 8], ends=True)
    adapter = adapter_for()
    still = rivals_of(adapter, records, [1])["persistence"]
    assert value(still, 1, "reward") == pytest.approx(1.0, rel=0.02)
    share = 1 / 8
    assert value(still, 1, "continue") == pytest.approx(share * (1 - share), rel=1e-5)


def test_categories_that_follow_each_other_are_linear_in_their_scores() -> None:
    """One-hot vectors and the constant are not independent, so that many solutions fit."""
    adapter = adapter_for(spaces.Discrete(5, start=3), spaces.Discrete(2))
    observed = torch.arange(40) % 5 + 3
    actions = torch.randint(2, (39,), generator=torch.Generator().manual_seed(0))
    records = records_of([observed], [actions], [torch.zeros(39)])
    found = rivals_of(adapter, records, [1, 3, 5])
    assert [value(found["linear"], horizon) for horizon in (1, 3, 5)] == [0, 0, 0]
    assert [value(found["persistence"], horizon) for horizon in (1, 3, 5)] == [1, 1, 0]


def test_bits_are_ones_above_one_half() -> None:
    adapter = adapter_for(spaces.MultiBinary(2), spaces.Discrete(2))
    observed = torch.tensor([[0, 1], [1, 0]], dtype=torch.int8).repeat(10, 1)
    records = records_of([observed], [torch.zeros(19, dtype=torch.long)], [torch.zeros(19)])
    found = rivals_of(adapter, records, [1, 2])
    assert [value(found["linear"], horizon) for horizon in (1, 2)] == [0, 0]
    assert value(found["persistence"], 1) == 1


def test_pictures_are_linear_in_a_few_directions() -> None:
    """Two spots that fade: two directions, and a linear model that is as exact as bytes are."""
    adapter = adapter_for(spaces.Box(0, 255, (8, 8, 1), np.uint8))
    strength = 200 * 0.95 ** torch.arange(30.0)
    pictures = torch.zeros(30, 8, 8, 1)
    pictures[:, 1, 1, 0], pictures[:, 4:6, 3, 0] = strength, 255 - strength[:, None]
    records = records_of(
        [pictures.round().to(torch.uint8)], [torch.zeros(29, 1)], [torch.zeros(29)]
    )
    found = rivals_of(adapter, records, [1, 10])
    coordinates = ObservationCoordinates(adapter.dynamics, records)
    assert coordinates.size < 30
    back = coordinates.back(coordinates.of(records["observation"]))["value"]
    assert torch.equal(back, records["observation", "value"])
    assert value(found["linear"], 10) < 0.1 * value(found["persistence"], 10)


@pytest.mark.parametrize("space", ["vector", "image", "nested"])
def test_coordinates_lead_back_to_what_they_are_of(space: str) -> None:
    adapter = adapter_of(make_model(space))
    records = adapter.source.records("train")
    coordinates = ObservationCoordinates(adapter.dynamics, records)
    back = coordinates.back(coordinates.of(records["observation"]))
    for leaf in adapter.dynamics.observed:
        values = records["observation", leaf.path]
        assert back[leaf.path].shape == values.shape
        assert torch.allclose(back[leaf.path].float(), values.float(), atol=1e-3), leaf.path


def test_what_explodes_is_stopped_and_stays_a_number() -> None:
    growing = (2.0 ** torch.arange(20.0))[:, None].expand(-1, 2)
    records = records_of([growing], [torch.zeros(19, 1)], [torch.zeros(19)])
    adapter = adapter_for()
    adapter.dynamics.fit(records)
    linear = LeastSquares(adapter.dynamics, records)
    state = linear.begin(records[19:][:, None])
    for _ in range(3000):
        state = linear.act(state, torch.zeros(1, 1))
    assert float(state.abs().max()) == FURTHEST


def test_a_linear_model_of_too_many_numbers_is_left_out() -> None:
    adapter = adapter_for(spaces.Discrete(2000))
    records = records_of([torch.arange(9)], [torch.zeros(8, 1)], [torch.zeros(8)])
    assert list(rivals_of(adapter, records, [1])) == ["persistence"]


def test_the_model_is_left_where_and_as_it_is() -> None:
    records = linear_world([9])
    adapter = adapter_for()
    adapter.dynamics.fit(records)
    before = {name: value.clone() for name, value in adapter.dynamics.named_buffers()}
    baselines(adapter, [1], records=records, train=records)
    assert all(torch.equal(value, before[name]) for name, value in adapter.dynamics.named_buffers())

"""Where the loops of a world model went: what is difficult, and an episode beside its error."""

import pytest
import torch
from domains.world_model.models import adapter_of, make_model

from loopverse.analysis import collect_allocation
from loopverse.depth import FixedPoint
from loopverse.exhibit import Curves
from loopverse_world_model.evaluation.allocation import along

RULE = FixedPoint(tolerance=0.5)


@pytest.mark.parametrize(
    ("space", "settings"),
    [("vector", {}), ("nested", {"tokens": 2}), ("vector", {"imagine": "latent", "context": 2})],
)
def test_an_episode_is_shown_step_by_step_beside_its_error(space: str, settings: dict) -> None:
    model = make_model(space, **settings)
    found = collect_allocation(model, {"settles": RULE}, 3, batch_size=4, max_batches=2)
    assert found.exhibition.problem == ""
    loops, errors = found.exhibition.exhibits[-2:]
    assert isinstance(loops, Curves)
    assert isinstance(errors, Curves)
    assert loops.series[0].x == errors.series[0].x
    assert all(1 <= value <= 3 for value in loops.series[0].y)
    assert all(value >= 0 for value in errors.series[0].y)


def test_horizon_counts_from_the_last_observation_and_the_error_is_that_of_the_metric() -> None:
    model = make_model(context=2, tokens=2, horizon=3)
    adapter = adapter_of(model)
    batch = next(adapter.batches("valid", batch_size=4, seed=0))
    with torch.no_grad():
        outcome = adapter(model.bind(2), batch)
    found = adapter.difficulties(outcome, batch)
    assert found["horizon"][0].tolist() == [1, 1, 1, 1, 2, 2, 3, 3]
    metrics = adapter.metrics()
    adapter.measure(metrics, outcome, batch)
    squares, weights = found["observation error"].square(), outcome.weights
    expected = float((squares * weights).sum() / weights.sum()) ** 0.5
    assert float(metrics[adapter.metric].compute()) == pytest.approx(expected, rel=1e-5)


def test_an_episode_step_by_step_is_a_window_in_which_every_observation_is_seen() -> None:
    model = make_model(context=6, horizon=1)
    adapter = adapter_of(model)
    batch = next(adapter.batches("valid", batch_size=4, seed=0))
    row = int(batch["weights"].sum(1).argmax())
    think = model.bind(3, halting=RULE)
    with torch.no_grad():
        outcome = adapter(think, batch)
        loops, errors = along(adapter, think, batch[row : row + 1], 6)
    assert outcome.depth is not None
    assert loops.tolist() == outcome.depth[row].tolist()
    assert len(set(loops.tolist())) > 1
    expected = adapter.difficulties(outcome, batch)["observation error"][row]
    assert torch.allclose(errors, expected, atol=1e-6)

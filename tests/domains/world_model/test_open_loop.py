"""Open-loop error: of models whose error is known, from starts and over episodes that are known."""

import math
from typing import Any

import pytest
import torch
from domains.world_model.models import adapter_of, make_model
from domains.world_model.planted import adapter_for, records_of, walker, walks
from tensordict import TensorDict

from loopverse.analysis import collect_exhibits, estimate
from loopverse.errors import UserError
from loopverse.exhibit import Curves, Estimate, HeatMap, TableExhibit
from loopverse_world_model.evaluation import HORIZONS, Starts, open_loop
from loopverse_world_model.evaluation.exhibits import Effort
from loopverse_world_model.imagination import Imagination


@pytest.mark.parametrize("imagine", ["decoded", "markov"])
def test_an_exact_model_has_no_error_and_one_that_drifts_has_its_drift(imagine: str) -> None:
    records = walks([30, 12, 7])
    adapter, think = walker(records, imagine=imagine)
    exact = open_loop(adapter, think, records=records)
    assert exact.horizons == (1, 2, 5, 10, 20)
    drifting = open_loop(*walker(records, shift=0.1, imagine=imagine), records=records)
    leaf: Any = adapter.dynamics.leaves["value"]
    for horizon in exact.horizons:
        error = exact.error(horizon)
        assert error is not None
        assert error.value < 1e-4
        drift = 0.1 * horizon / leaf.std
        drifted = drifting.error(horizon)
        assert drifted is not None
        assert drifted.value == pytest.approx(float(drift.square().mean().sqrt()), rel=1e-3)
    assert exact.num_starts(10) == 21 + 3
    assert exact.num_episodes(10) == 2


def test_an_exact_model_that_adds_up_actions_has_no_error() -> None:
    """Predictions without decoding are counted from the last observation, however long ago."""
    records = walks([30])
    found = open_loop(*walker(records, imagine="latent"), records=records)
    errors = [found.error(horizon) for horizon in found.horizons]
    assert max(error.value for error in errors if error) < 1e-4


def test_the_reward_is_that_of_the_last_step_and_the_end_is_its_end() -> None:
    records = walks([9, 5], ends=True)
    adapter, think = walker(records)  # which holds that nothing ever ends
    found = open_loop(adapter, think, [1, 3], records=records)
    reward, ended = found.error(3, "reward"), found.error(3, "continue")
    assert reward is not None
    assert reward.value < 1e-5
    assert ended is not None
    assert ended.value == pytest.approx(2 / (7 + 3), rel=1e-5)  # one start of each episode


@pytest.mark.parametrize("settings", [{}, {"imagine": "latent"}, {"context": 2}])
@pytest.mark.parametrize("space", ["nested", "image"])
def test_forecasts_are_those_of_imagination_step_by_step(
    space: str, settings: dict[str, Any]
) -> None:
    """Whichever rows have been dropped on the way because their episode was over."""
    model = make_model(space, **settings)
    adapter, context = adapter_of(model), settings.get("context", 1)
    records = adapter.source.records("valid")
    found = open_loop(adapter, model.bind(2), [1, 3, 4], records=records)
    world = Imagination(adapter.dynamics, model.bind(2))
    total = 0.0
    with torch.no_grad():
        starts = Starts.of(records, context=context, needed=4)
        for row in starts.rows.tolist():
            memory, imagined = world.begin(1), None
            for step in range(1 - context, 4):
                if step <= 0:
                    seen = records["observation"][row + step : row + step + 1]
                    memory = world.observe(memory, seen)
                action = adapter.actions.encode(records["action"][row + step : row + step + 1])
                memory, imagined = world.step(memory, action)
            assert imagined is not None
            errors = [
                adapter.dynamics.leaf(leaf)
                .error(
                    imagined.observation[leaf.path],
                    records["observation", leaf.path][row + 4 : row + 5],
                )
                .mean()
                for leaf in adapter.dynamics.observed
            ]
            total += float(torch.stack(errors).mean())
    error = found.error(4)
    assert error is not None
    assert found.num_starts(4) == len(starts)
    assert error.value == pytest.approx(math.sqrt(total / len(starts)), rel=1e-3)


def test_intervals_are_over_episodes_and_not_over_starts() -> None:
    """More starts in the same episodes, which err alike, make nothing surer."""
    lengths = [12, 12, 12]
    records = walks(lengths)
    adapter, think = walker(records)
    for row, shift in enumerate([0.0, 0.3, 0.6]):  # what happens is off, by episode
        mine = records["episode"] == row
        records["observation", "value"][mine] += shift * torch.arange(13)[:, None]
    few, many = (open_loop(adapter, think, [1], limit=n, records=records) for n in (6, 1000))
    assert few.num_starts(1) == 6
    assert many.num_starts(1) == 36
    one, other = few.error(1), many.error(1)
    assert one is not None
    assert other is not None
    assert one.value == pytest.approx(other.value, rel=0.05)
    assert one.margin == pytest.approx(other.margin, rel=0.05)
    values, weights = many.per_episode(1)
    squares = estimate(values, weights)
    assert squares.margin is not None
    assert other.value == pytest.approx(math.sqrt(squares.value))
    assert other.margin == pytest.approx(squares.margin / (2 * other.value))
    assert squares.margin > 0.1  # three episodes that differ


def test_differences_are_taken_within_episodes() -> None:
    """Two models that err by the same more or less in every episode differ surely."""
    records = walks([12] * 6)
    for row in range(6):
        records["observation", "value"][records["episode"] == row] += (
            row * torch.arange(13)[:, None]
        )
    near, far = (
        open_loop(*walker(records, shift=shift), [1], records=records) for shift in (0.0, -0.2)
    )
    one, other, gap = near.error(1), far.error(1), near.difference(far, 1)
    assert one is not None
    assert other is not None
    assert gap is not None
    assert gap.value == pytest.approx(one.value - other.value)
    assert one.margin is not None
    assert abs(gap.value) < one.margin  # which says nothing
    assert gap.sure
    same = near.difference(near, 1)
    assert same is not None
    assert (same.value, same.margin) == (0, 0)


def test_a_horizon_that_no_episode_reaches_has_no_error() -> None:
    records = walks([5])
    found = open_loop(*walker(records), [1, 5, 6], records=records)
    assert found.horizons == (1, 5)
    assert found.error(6) is None
    single = found.error(5)
    assert single is not None
    assert single.margin is None  # one episode says nothing of others


def test_a_start_has_what_it_needs_before_and_after_it() -> None:
    records = walks([4, 2])
    assert Starts.of(records).rows.tolist() == [0, 1, 2, 3, 5, 6]
    late = Starts.of(records, context=3)
    assert (late.rows.tolist(), late.left.tolist()) == ([2, 3], [2, 1])
    assert late.past(records, 3)["episode"].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert Starts.of(records, limit=3).rows.tolist() == [0, 2, 6]
    with pytest.raises(UserError, match="longest of 2 held-out episodes has 4 transitions"):
        Starts.of(records, context=5)


def test_numbers_categories_and_bits_count_each_in_their_own_way() -> None:
    from gymnasium import spaces

    adapter = adapter_for(spaces.Discrete(3), spaces.Discrete(2))
    observed = torch.tensor([0, 1, 2, 1, 0])
    records = records_of([observed], [torch.zeros(4, dtype=torch.long)], [torch.zeros(4)])
    adapter.dynamics.fit(records)
    with torch.no_grad():
        for parameter in adapter.dynamics.parameters():
            parameter.zero_()
        leaf: Any = adapter.dynamics.leaves["value"]
        leaf.head.bias[1] = 5.0  # always category 1, which two of four are
    _, think = walker(walks([4]))
    found = open_loop(adapter, think, [1], records=records)
    share, whole = found.error(1, "value"), found.error(1)
    assert share is not None
    assert whole is not None
    assert share.value == pytest.approx(0.5)
    assert whole.value == pytest.approx(math.sqrt(0.5))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    effort = Effort(starts=20, map_starts=10, rollouts=4, steps=12)
    monkeypatch.setattr(Effort, "of", lambda _: effort)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("space", ["vector", "nested", "image"])
def test_what_a_model_shows_is_complete_for_every_space(space: str) -> None:
    shown = collect_exhibits(make_model(space), [1, 2], 2)
    assert shown.problem == ""
    titles = [exhibit.title for exhibit in shown.exhibits]
    expected = [
        "Open-loop error",
        "Open-loop error by loops and horizon",
        "A planned episode beside a random one",
        "Open-loop error by part",
        *(["Calibration of numbers"] if space != "image" else []),
        "Reliability of probabilities",
        "Imagined rollouts of 12 steps",
        "State norm in imagined rollouts",
        *(["Spread of imagined rollouts"] if space != "image" else []),
        "Deferred decoding",
    ]
    assert [title for title in titles if title in expected] == expected
    table, heat = shown.exhibits[:2]
    assert isinstance(table, TableExhibit)
    assert [row[0] for row in table.rows] == [str(horizon) for horizon in HORIZONS]
    assert table.rows[-1][1:] == [None] * 6
    assert "the longest held-out episode has 9 transitions" in table.note
    assert isinstance(heat, HeatMap)
    assert len(heat.values) == 2
    assert heat.values[0][-1] is None
    parts = next(one for one in shown.exhibits if one.title.endswith("by part"))
    assert isinstance(parts, TableExhibit)
    assert {"reward", "continue"} <= {str(row[0]) for row in parts.rows}
    for exhibit in shown.exhibits:
        assert "provabl" not in exhibit.note
        if isinstance(exhibit, Curves):
            assert exhibit.series


@pytest.mark.usefixtures("small")
def test_a_core_that_cannot_run_deeper_says_so_in_the_table(toy_records: TensorDict) -> None:
    adapter, think = walker(toy_records)
    adapter._source = FakeSource(toy_records)  # pyright: ignore[reportAttributeAccessIssue]

    def think_at(loops: int) -> Any:
        if loops > 2:
            raise ValueError("an untied core of 2 loops cannot run more")
        return think

    with torch.no_grad():
        shown = {exhibit.title: exhibit for exhibit in adapter.exhibits(think_at, [2], 2)}
    table = shown["Imagined rollouts of 12 steps"]
    assert isinstance(table, TableExhibit)
    assert [row[0] for row in table.rows] == ["2 (1x)", "4 (2x)", "8 (4x)"]
    assert table.rows[1][1:] == [None] * 7
    assert "the core does not run so many loops" in table.note
    errors = shown["Open-loop error"]
    assert isinstance(errors, TableExhibit)
    for row in errors.rows[:3]:  # in this world the linear model is exact, as the planted one is
        assert isinstance(row[3], Estimate)
        assert row[3].value < 1e-4


class FakeSource:
    """Records that are both trained on and held out."""

    def __init__(self, records: TensorDict) -> None:
        self.all = records

    def records(self, split: str) -> TensorDict:
        return self.all


@pytest.fixture
def toy_records() -> TensorDict:
    return walks([8, 8, 8])

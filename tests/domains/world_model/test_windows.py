"""Windows: equal to cutting them by hand, addressed by their number, fair to every transition."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from domains.world_model.making import replay_of
from domains.world_model.toys import ACTIONS, TOY
from tensordict import TensorDict

from loopverse.errors import UserError
from loopverse_world_model.collection import collect
from loopverse_world_model.policies import RandomPolicy
from loopverse_world_model.replay import Replay
from loopverse_world_model.windows import Windows

LENGTHS = [1, 3, 12, 5, 7, 40]
STEPS = 5


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    return replay_of(tmp_path / "replay", LENGTHS)


def by_hand(replay: Replay, first: int, length: int) -> dict[str, torch.Tensor]:
    """The window that begins with a record, one step at a time."""
    records = replay.records
    number = int(records["episode"][first])
    last = int(replay.starts[number + 1]) - 1
    steps = [min(first + step, last) for step in range(length + 1)]
    return {
        "value": torch.stack([records["observation", "value"][step] for step in steps]),
        "action": torch.stack([records["action"][step] for step in steps[:-1]]),
        "reward": torch.stack([records["reward"][step] for step in steps[:-1]]),
        "terminated": torch.tensor([float(records["terminated"][step]) for step in steps[:-1]]),
        "weights": torch.tensor([float(first + step < last) for step in range(length)]),
    }


def assert_as_by_hand(batch: TensorDict, replay: Replay, length: int) -> None:
    for row in range(len(batch)):
        expected = by_hand(replay, int(batch["id"][row]), length)
        assert (batch["observation", "value"][row] == expected.pop("value")).all()
        for name, value in expected.items():
            assert batch[name].dtype == value.dtype
            assert (batch[name][row] == value).all(), name


@pytest.mark.parametrize("pad", [True, False])
def test_a_batch_holds_what_cutting_by_hand_gives(replay: Replay, pad: bool) -> None:
    episodes = [number for number, length in enumerate(LENGTHS) if pad or length >= STEPS]
    windows = Windows(replay, episodes, pad=pad)
    for batch in islice(windows.random(16, STEPS, seed=0), 4):
        assert_as_by_hand(batch, replay, STEPS)
        assert (batch["weights"][:, 0] == 1).all()
        assert pad or (batch["weights"] == 1).all()


def test_windows_of_nested_spaces_are_cut_alike(tmp_path: Path) -> None:
    policy = RandomPolicy(ACTIONS["cards"], 0)
    settings = {"space": "nested", "action": "cards"}
    replay = collect(tmp_path, TOY, policy, episodes=6, env_kwargs=settings)
    batch = Windows(replay, range(6)).random_batch(0, 32, STEPS, seed=0)
    assert batch["action"].shape == (32, STEPS, 2)
    for path, values in replay.records["observation"].items():
        found = batch["observation", path]
        assert found.shape == (32, STEPS + 1, *values.shape[1:])
        assert (found[:, 0] == values[batch["id"]]).all()


@pytest.mark.parametrize("pad", [True, False])
def test_every_transition_is_as_likely_as_the_rule_says(replay: Replay, pad: bool) -> None:
    episodes = [number for number, length in enumerate(LENGTHS) if pad or length >= STEPS]
    batch = Windows(replay, episodes, pad=pad).random_batch(0, 60_000, STEPS, seed=1)
    expected = np.zeros(replay.num_records)
    for number in episodes:
        length, first = LENGTHS[number], int(replay.starts[number])
        for begin in range(1 - STEPS, length):  # the places of the line
            inside = max(begin, 0) if pad else min(max(begin, 0), length - STEPS)
            expected[first + inside : first + min(inside + STEPS, length)] += 1
    places = sum(LENGTHS[number] + STEPS - 1 for number in episodes)
    counts = np.zeros(replay.num_records)
    rows, steps = np.nonzero(batch["weights"].numpy())
    np.add.at(counts, batch["id"].numpy()[rows] + steps, 1)
    assert (counts[expected == 0] == 0).all()
    seen = expected > 0
    assert (expected[seen].max() / expected[seen].min()) <= (2 if pad else 3)
    assert np.abs(counts[seen] / (expected[seen] / places * 60_000) - 1).max() < 0.08


def test_an_episode_may_end_at_any_step_of_a_window(replay: Replay) -> None:
    batch = Windows(replay, [2, 4]).random_batch(0, 4000, STEPS, seed=0)
    ends = batch["terminated"].sum(0)
    assert (ends > 150).all()


def test_batch_n_is_found_without_those_before(replay: Replay) -> None:
    windows = Windows(replay, [2, 3, 5])
    batches = list(islice(windows.random(8, STEPS, seed=3), 6))
    (late,) = islice(Windows(replay, [2, 3, 5]).random(8, STEPS, seed=3, start=5), 1)
    assert (late == batches[5]).all()
    assert (batches[0]["id"] != batches[1]["id"]).any()
    (other,) = islice(windows.random(8, STEPS, seed=4), 1)
    assert (other["id"] != batches[0]["id"]).any()


def test_ranks_share_one_batch(replay: Replay) -> None:
    windows = Windows(replay, range(6))
    whole = windows.random_batch(7, 12, STEPS, seed=0)
    parts = [
        windows.random_batch(7, 4, STEPS, seed=0, rank=rank, world_size=3) for rank in range(3)
    ]
    assert (torch.cat([part["id"] for part in parts]) == whole["id"]).all()


def test_the_length_may_follow_from_the_number_of_the_batch(replay: Replay) -> None:
    windows = Windows(replay, range(6))
    batches = list(islice(windows.random(4, lambda number: 1 + number // 2, seed=0), 6))
    assert [batch["reward"].shape[1] for batch in batches] == [1, 1, 2, 2, 3, 3]
    fresh = Windows(replay, range(6))
    (third,) = islice(fresh.random(4, lambda number: 1 + number // 2, seed=0, start=3), 1)
    assert (third == batches[3]).all()


def test_a_replay_that_has_grown_gives_a_run_the_same_batches(tmp_path: Path) -> None:
    before = replay_of(tmp_path / "before", LENGTHS)
    after = replay_of(tmp_path / "after", [*LENGTHS, 8, 8]).first(len(LENGTHS))
    numbers = before.held_out(0.3)[0]
    assert (numbers == after.held_out(0.3)[0]).all()
    for n in range(3):
        one = Windows(before, numbers).random_batch(n, 16, STEPS, seed=0)
        assert (one == Windows(after, numbers).random_batch(n, 16, STEPS, seed=0)).all()


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_once_holds_every_transition_once(replay: Replay, world_size: int, batch_size: int) -> None:
    windows = Windows(replay, [0, 2, 3, 5])
    ranks = [
        list(windows.once(batch_size, STEPS, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    held = []
    for batch in (batch for batches in ranks for batch in batches):
        assert batch["weights"].shape == (batch_size, STEPS)
        real = batch[batch["id"] >= 0]
        assert (batch[batch["id"] < 0]["weights"] == 0).all()
        assert_as_by_hand(real, replay, STEPS)
        places = real["id"][:, None] + torch.arange(STEPS)
        held += places[real["weights"] > 0].tolist()
    expected = [
        int(replay.starts[number]) + step
        for number in (0, 2, 3, 5)
        for step in range(LENGTHS[number])
    ]
    assert sorted(held) == expected


def test_once_is_the_same_every_time_and_starts_anywhere(replay: Replay) -> None:
    first, again = (list(Windows(replay, range(6)).once(2, STEPS)) for _ in range(2))
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    later = list(Windows(replay, range(6)).once(2, STEPS, start=3))
    assert all((one == other).all() for one, other in zip(first[3:], later, strict=True))
    ids = torch.cat([batch["id"] for batch in first])
    assert ids[ids >= 0].diff().lt(0).any()  # not in the order of the episodes


def test_episodes_that_are_too_short_are_refused_where_nothing_is_padded(replay: Replay) -> None:
    windows = Windows(replay, range(6), pad=False)
    with pytest.raises(
        UserError, match="2 of 6 episodes are shorter than a window of 5 transitions"
    ):
        windows.random_batch(0, 4, STEPS, seed=0)
    with pytest.raises(UserError, match="at least 1 transition, got 0"):
        windows.random_batch(0, 4, 0, seed=0)

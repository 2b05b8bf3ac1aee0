"""A replay keeps what was recorded, whole episodes only, beside whoever writes."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from domains.world_model.making import DONE, OBSERVED, recorder, recording, replay_of
from gymnasium import spaces

from loopverse.errors import UserError
from loopverse_world_model import recorder as recorder_module
from loopverse_world_model.columns import Column
from loopverse_world_model.recorder import Recorder
from loopverse_world_model.replay import Replay

LENGTHS = [3, 1, 5, 2]


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    replay = replay_of(tmp_path, LENGTHS)
    assert (replay.num_episodes, replay.num_transitions, replay.num_records) == (4, 11, 15)
    for number, length in enumerate(LENGTHS):
        given, kept = recording(number, length), replay.episode(number)
        assert len(kept) == length + 1
        assert (kept["observation", "value"].numpy() == given.observation["value"]).all()
        assert kept["action"].tolist() == [*given.action, 0]
        assert kept["reward"].tolist() == [*given.reward, 0]
        assert kept["terminated"].tolist() == [False] * (length - 1) + [number % 2 == 0, False]
        assert kept["episode"].tolist() == [number] * (length + 1)
    index = replay.episodes[2]
    assert (index.length, index.total, index.terminated) == (5, 1015.0, True)
    assert (index.number, index.policy, index.seed) == (2, "counting", 2)
    assert (replay.observation_space, replay.action_space) == (OBSERVED, DONE)


def test_a_replay_grows_beyond_what_was_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "FEWEST", 4)
    lengths = [1 + number % 7 for number in range(40)]
    replay = replay_of(tmp_path / "grown", lengths)
    monkeypatch.setattr(recorder_module, "FEWEST", 4096)
    assert (replay.records == replay_of(tmp_path / "roomy", lengths).records).all()


def test_nothing_is_left_of_what_was_reserved(tmp_path: Path) -> None:
    replay = replay_of(tmp_path, LENGTHS)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "records").iterdir()}
    assert sizes["observation.0.value.memmap"] == replay.num_records * 2 * 8
    assert sizes["terminated.memmap"] == replay.num_records
    assert "meta.json" not in sizes


def test_recording_goes_on_where_it_ended(tmp_path: Path) -> None:
    for part in (LENGTHS[:2], LENGTHS[2:]):
        with recorder(tmp_path / "parts") as open_recorder:
            for length in part:
                open_recorder.append(recording(len(open_recorder.episodes), length))
    whole = replay_of(tmp_path / "whole", LENGTHS)
    parts = Replay.open(tmp_path / "parts")
    assert parts.episodes == whole.episodes
    assert (parts.records == whole.records).all()


def test_a_reader_beside_a_writer_sees_whole_episodes(tmp_path: Path) -> None:
    with recorder(tmp_path) as open_recorder:
        open_recorder.append(recording(0, 3))
        open_recorder.commit()
        open_recorder.append(recording(1, 4))
        early = Replay.open(tmp_path)
        assert early.num_episodes == 1
        values = early.records["observation", "value"].clone()
    late = Replay.open(tmp_path)
    assert late.num_episodes == 2
    assert (early.records["observation", "value"] == values).all()
    assert (late.first(1).records == early.records).all()


def test_writing_into_what_was_read_does_not_reach_the_disk(tmp_path: Path) -> None:
    replay = replay_of(tmp_path, LENGTHS)
    replay.records["reward"].fill_(7)
    assert Replay.open(tmp_path).records["reward"].sum() != 7 * replay.num_records


def test_data_may_be_larger_than_the_memory(tmp_path: Path) -> None:
    column = Column(("reward",), "reward", torch.float32, (4,))
    column.path(tmp_path).parent.mkdir()
    column.path(tmp_path).touch()
    os.truncate(column.path(tmp_path), 2**40)  # of which no disk is used
    values = column.read(tmp_path, 2**36)
    assert values.shape == (2**36, 4)
    assert values[-1].tolist() == [0, 0, 0, 0]


def test_a_folder_that_may_not_be_written_can_be_read(tmp_path: Path) -> None:
    replay_of(tmp_path, LENGTHS)
    for path in (tmp_path / "records").iterdir():
        path.chmod(0o444)
    assert Replay.open(tmp_path).records["reward"].sum() > 0


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    whole = replay_of(tmp_path, LENGTHS)
    with (tmp_path / "episodes.jsonl").open("a") as file:
        file.write('{"number": 4, "len')
    assert Replay.open(tmp_path).episodes == whole.episodes
    with recorder(tmp_path) as open_recorder:
        open_recorder.append(recording(4, 6))
    assert Replay.open(tmp_path).num_episodes == 5


def test_the_first_episodes_stay_the_same_while_the_replay_grows(tmp_path: Path) -> None:
    before = replay_of(tmp_path / "a", LENGTHS)
    after = replay_of(tmp_path / "b", [*LENGTHS, 9, 9])
    assert (after.first(4).records == before.records).all()
    for count in (0, 5):
        with pytest.raises(UserError, match=f"has 4 episodes, and {count} were asked for"):
            before.first(count)


def test_held_out_episodes_stay_held_out_while_the_replay_grows(tmp_path: Path) -> None:
    replay = replay_of(tmp_path, [1] * 300)
    train, held = replay.held_out(0.2)
    assert sorted([*train, *held]) == list(range(300))
    assert 40 <= len(held) <= 80
    for count in (2, 3, 10, 100):
        fewer_train, fewer_held = replay.first(count).held_out(0.2)
        assert fewer_train.tolist() == [number for number in train if number < count]
        assert fewer_held.tolist() == [number for number in held if number < count]
        assert len(fewer_train) >= 1
        assert len(fewer_held) >= 1


def test_one_episode_cannot_be_split(tmp_path: Path) -> None:
    replay = replay_of(tmp_path, [3])
    with pytest.raises(UserError, match="has 1 episode, expected at least 2"):
        replay.held_out(0.1)
    with pytest.raises(UserError, match=r"must be between 0 and 1, got 1"):
        replay.held_out(1)


def test_a_folder_that_holds_other_spaces_is_refused(tmp_path: Path) -> None:
    replay_of(tmp_path, LENGTHS)
    with pytest.raises(UserError, match=r"holds actions of Discrete\(5\), and these are of Disc"):
        Recorder(tmp_path, OBSERVED, spaces.Discrete(6))
    with recorder(tmp_path) as open_recorder:  # and the lock was let go
        assert len(open_recorder.episodes) == 4


def test_what_is_no_replay_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no replay: expected spaces.json there"):
        Replay.open(tmp_path)
    replay_of(tmp_path, LENGTHS)
    path = tmp_path / "records" / "reward.memmap"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(
        UserError, match="damaged: reward.memmap has 56 bytes, its 4 episodes need 60"
    ):
        Replay.open(tmp_path)
    with (tmp_path / "episodes.jsonl").open("a") as file:
        file.write(json.dumps({"number": 4}) + "\n")
    with pytest.raises(UserError, match="line 5 of .*episodes.jsonl is not of an episode"):
        Replay.open(tmp_path)


def test_a_full_disk_is_told_and_costs_no_whole_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "FEWEST", 8)
    real = recorder_module._fill

    def full(path: Path, size: int) -> None:
        if size > 600:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, size)

    monkeypatch.setattr(recorder_module, "_fill", full)
    with pytest.raises(UserError, match="cannot write the replay .*: no space left on device"):
        replay_of(tmp_path, [4] * 99)
    replay = Replay.open(tmp_path)
    assert replay.num_episodes >= 1
    assert (replay.episode(0)["reward"][:-1] == torch.from_numpy(recording(0, 4).reward)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"reward": np.array([1.0, np.inf, 2.0])},
            "the reward of here at step 1 is inf, expected a",
        ),
        ({"reward": np.array([1.0, 1e300, 2.0])}, "the reward of here at step 1 is 1e\\+300"),
        (
            {"action": np.array([1, 5, 2])},
            r"the action of here at step 1 is 5, expected one of \(5,",
        ),
        ({"action": np.array([1, 0.5, 2])}, "the action of here at step 1 is 0.5"),
        (
            {"action": np.array([1, 2])},
            r"shape \[2\], expected \[3\]: an episode has as many actions",
        ),
        ({"reward": np.array([])}, "here has no transitions"),
        ({"observation": {"other": np.zeros(3)}}, r"observes \['other'\], expected \['value'\]"),
        ({"observation": {"value": np.full((4, 2), 1j)}}, "is complex128, expected float64"),
    ],
)
def test_what_could_not_be_learnt_from_is_refused(
    tmp_path: Path, change: dict[str, np.ndarray], words: str
) -> None:
    wrong = recording(0, 3)
    for name, value in change.items():
        setattr(wrong, name, value)
    with recorder(tmp_path) as open_recorder, pytest.raises(UserError, match=words):
        open_recorder.append(wrong, "here")
    assert Replay.open(tmp_path).num_episodes == 0


def test_an_empty_replay_has_no_records(tmp_path: Path) -> None:
    with recorder(tmp_path):
        pass
    replay = Replay.open(tmp_path)
    assert (replay.num_episodes, replay.num_transitions) == (0, 0)
    assert replay.records.batch_size == (0,)


def test_actions_of_several_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="actions made of 2 parts cannot be modelled yet"):
        Recorder(tmp_path, OBSERVED, spaces.Dict({"a": DONE, "b": DONE}))

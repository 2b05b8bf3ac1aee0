"""Data of the user's own: `.npz` and HDF5 in Minari's layout, read back as they were given."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from domains.world_model.making import replay_of
from domains.world_model.toys import ACTIONS, OBSERVATIONS
from gymnasium import spaces

from loopverse.errors import UserError
from loopverse.text import cache_root
from loopverse_world_model import folders
from loopverse_world_model.folders import opened

LENGTHS = [3, 6, 2]


def arrays_of(number: int, length: int) -> dict[str, np.ndarray]:
    """A small episode as it is written into a file."""
    rng = np.random.default_rng(number)
    return {
        "observation": rng.normal(size=(length + 1, 2)).astype(np.float32),
        "action": rng.integers(0, 3, length),
        "reward": rng.normal(size=length),
        "terminated": np.arange(length) == (length - 1 if number % 2 else -1),
    }


def write(folder: Path, **changes: dict[str, Any] | None) -> Path:
    """Three files; `changes` of a file replace its arrays, and None takes one away."""
    folder.mkdir(exist_ok=True)
    for number, length in enumerate(LENGTHS):
        arrays = {**arrays_of(number, length), **(changes.get(f"file{number}") or {})}
        np.savez(
            folder / f"{number}.npz",
            **{name: value for name, value in arrays.items() if value is not None},
        )
    return folder


def test_files_become_a_replay(tmp_path: Path) -> None:
    replay = opened(write(tmp_path / "own"))
    assert replay.lengths.tolist() == LENGTHS
    for number, length in enumerate(LENGTHS):
        given, kept = arrays_of(number, length), replay.episode(number)
        assert (kept["observation", "value"].numpy() == given["observation"]).all()
        assert (kept["action"][:-1].numpy() == given["action"]).all()
        assert (kept["reward"][:-1].numpy() == given["reward"].astype(np.float32)).all()
        assert (kept["terminated"][:-1].numpy() == given["terminated"]).all()
        assert replay.episodes[number].terminated == bool(number % 2)
    assert replay.observation_space == spaces.Box(-np.inf, np.inf, (2,), np.float32)
    assert replay.action_space == spaces.Discrete(3)


def test_files_are_read_once_and_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "own")
    first = opened(folder)
    with monkeypatch.context() as patched:
        patched.setattr(folders, "Recorder", None)  # so that nothing can be imported
        assert opened(folder).folder == first.folder
    write(folder, file1={"reward": np.ones(6)})
    changed = opened(folder)
    assert changed.folder != first.folder
    assert changed.episode(1)["reward"].sum() == 6


def test_what_a_kill_left_half_imported_is_imported_on(tmp_path: Path) -> None:
    folder = write(tmp_path / "own")
    whole = opened(folder)
    records, index = whole.records.clone(), whole.folder / "episodes.jsonl"
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:1]))
    again = opened(folder)
    assert again.folder == whole.folder
    assert (again.records == records).all()


def test_parts_are_named_and_of_any_kind(tmp_path: Path) -> None:
    parts = {
        "arm.angle": np.linspace(0, 1, 4).reshape(4, 1),
        "arm.on": np.array([[True, False]] * 4),
        "eye": np.zeros((4, 16, 16, 3), np.uint8),
        "cards": np.array([[0, 4], [2, 0], [1, 1], [0, 3]]),
        "turn": np.array([-1, 0, 2, 1]),
    }
    (tmp_path / "own").mkdir()
    np.savez(
        tmp_path / "own" / "a.npz",
        action=np.array([[0.5, -1], [0, 2], [0.1, 0]], np.float32),
        reward=np.zeros(3),
        terminated=True,
        **{f"observation.{path}": value for path, value in parts.items()},
    )
    replay = opened(tmp_path / "own")
    assert replay.observation_space == spaces.Dict(
        {
            "arm": spaces.Dict(
                {
                    "angle": spaces.Box(-np.inf, np.inf, (1,), np.float64),
                    "on": spaces.MultiBinary(2),
                }
            ),
            "eye": spaces.Box(0, 255, (16, 16, 3), np.uint8),
            "cards": spaces.MultiDiscrete([3, 5]),
            "turn": spaces.Discrete(4, start=-1),
        }
    )
    # Actions have the range that was seen, because a planner needs bounds.
    low, high = np.array([0, -1], np.float32), np.array([0.5, 2], np.float32)
    assert replay.action_space == spaces.Box(low, high)
    for path, value in parts.items():
        assert (replay.episode(0)["observation", path].numpy() == value).all()
    assert replay.episode(0)["terminated"].tolist() == [False, False, True, False]


def test_spaces_can_be_given(tmp_path: Path) -> None:
    folder = write(tmp_path / "own")
    given = opened(folder, action_space=spaces.Discrete(7))
    assert given.action_space == spaces.Discrete(7)
    assert given.folder != opened(folder).folder
    with pytest.raises(UserError, match=r"the action of \d.npz at step \d is 2, expected one of"):
        opened(folder, action_space=spaces.Discrete(2))


NOT_FINITE = np.array([0.0, 1, 2, np.nan, 4, 5])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": None}, "1.npz lacks action; it has observation, reward, terminated"),
        ({"observation": None}, r"1.npz lacks observation \(or observation.NAME"),
        ({"reward": NOT_FINITE}, "the reward of 1.npz at step 3 is nan, expected a finite number"),
        ({"reward": np.zeros(5)}, r"terminated of 1.npz has shape \[6\], expected \[5\]"),
        ({"action": np.zeros(7, int)}, r"action of 1.npz has shape \[7\], expected \[6\]"),
        (
            {"observation": np.zeros((6, 2), np.float32)},
            r"observation of 1.npz has shape \[6, 2\], expected \[7, 2\]",
        ),
        (
            {"terminated": np.arange(6) == 2},
            "1.npz is terminated at step 2 of 6, before its end",
        ),
        (
            {"observation": np.zeros((7, 3), np.float32)},
            r"'value' of 0.npz is float32 of shape \[2\], that of 1.npz is float32 of shape \[3\]",
        ),
        (
            {"action": np.zeros(6)},
            r"the action of 0.npz is int64 of shape \[\], that of 1.npz is float64 of shape \[\]",
        ),
        (
            {"observation": None, "observation.a": np.zeros((7, 2))},
            "0.npz has action, observation 'value', and 1.npz has action, observation 'a'",
        ),
        ({"observation": np.array([{}] * 7)}, "cannot read .*1.npz: .*numpy.savez writes"),
    ],
)
def test_files_that_cannot_be_learnt_from_are_refused_by_name(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    folder = write(tmp_path / "own", file1=change)
    with pytest.raises(UserError, match=words):
        opened(folder)
    assert not [path for path in (cache_root() / "replays").iterdir() if path.is_dir()]


def test_text_is_no_observation(tmp_path: Path) -> None:
    changes = {
        f"file{n}": {"observation": np.array(["a"] * (t + 1))} for n, t in enumerate(LENGTHS)
    }
    with pytest.raises(UserError, match="'value' of 0.npz is <U1 of shape"):
        opened(write(tmp_path / "own", **changes))


def test_a_folder_without_episodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no .*nowhere"):
        opened(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no episodes: expected a replay"):
        opened(tmp_path)
    (tmp_path / "0.npz").write_bytes(b"")
    with pytest.raises(UserError, match="cannot read .*0.npz"):
        opened(tmp_path)


def test_a_replay_is_opened_where_it_lies(tmp_path: Path) -> None:
    assert opened(replay_of(tmp_path / "replay", LENGTHS).folder).folder == tmp_path / "replay"


NESTED = spaces.Dict(  # without a name that HDF5 would take for a path
    {k: part for k, part in OBSERVATIONS["nested"].spaces.items() if "/" not in k}  # type: ignore[attr-defined] # a Dict
)
PICTURE = spaces.Box(0, 255, (32, 40, 3), np.uint8)  # of the size that Minari keeps as JPEG


def stacked(space: spaces.Space, values: list[Any]) -> Any:
    """Values of a space as lists of their parts, as Minari buffers them."""
    if isinstance(space, spaces.Dict):
        return {k: stacked(part, [v[k] for v in values]) for k, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        parts = enumerate(space.spaces)
        return tuple(stacked(part, [v[n] for v in values]) for n, part in parts)
    return values


@pytest.mark.parametrize("space", [OBSERVATIONS["vector"], OBSERVATIONS["image"], NESTED, PICTURE])
@pytest.mark.parametrize("action", ["discrete", "box", "cards", "bits"])
def test_a_data_set_of_minari_is_read_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: spaces.Space, action: str
) -> None:
    pytest.importorskip("h5py")
    storage = pytest.importorskip("minari.dataset.minari_storage").MinariStorage.new(
        tmp_path / "data", space, ACTIONS[action], data_format="hdf5"
    )
    buffer = pytest.importorskip("minari.data_collector").EpisodeBuffer
    space.seed(0)
    ACTIONS[action].seed(0)
    storage.update_episodes(
        buffer(
            seed=40 + number,
            observations=stacked(space, [space.sample() for _ in range(length + 1)]),
            actions=[ACTIONS[action].sample() for _ in range(length)],
            rewards=list(np.linspace(0, number, length)),
            terminations=[False] * (length - 1) + [number == 1],
            truncations=[False] * (length - 1) + [number != 1],
        )
        for number, length in enumerate(LENGTHS)
    )
    storage.update_metadata({"algorithm_name": "dice"})
    written = list(storage.get_episodes(range(len(LENGTHS))))
    monkeypatch.setitem(sys.modules, "minari", None)
    replay = opened(tmp_path)
    assert (replay.observation_space, replay.action_space) == (space, ACTIONS[action])
    for entry, episode in zip(replay.episodes, written, strict=True):
        kept = replay.episode(entry.number)
        assert (entry.policy, entry.seed) == ("dice", 40 + entry.number)
        assert entry.terminated == (entry.number == 1)
        assert (kept["action"][:-1].numpy() == episode["actions"]).all()
        assert (kept["reward"][:-1].numpy() == episode["rewards"].astype(np.float32)).all()
        for path, value in leaves(episode["observations"]):
            assert (kept["observation", path].numpy() == value).all(), path


def leaves(value: Any, path: str = "") -> list[tuple[str, np.ndarray]]:
    """Arrays by path, without the code under test."""
    if isinstance(value, dict | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        found = [leaves(part, f"{path}.{name}" if path else str(name)) for name, part in pairs]
        return [leaf for part in found for leaf in part]
    return [(path or "value", value)]


def test_hdf5_that_is_not_minaris_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "data.hdf5"
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot read .*data.hdf5: .*; expected an HDF5 file"):
        opened(path)
    with h5py.File(path, "w") as file:
        file.create_group("other")
    with pytest.raises(UserError, match="has no groups episode_0, episode_1"):
        opened(path)
    with h5py.File(path, "w") as file:
        file.create_group("episode_0")["observations"] = np.zeros((3, 2))
    with pytest.raises(UserError, match="data.hdf5:episode_0 lacks actions, rewards, terminations"):
        opened(path)


def test_episodes_of_hdf5_keep_the_order_of_their_numbers(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        for number in range(12):
            group = file.create_group(f"episode_{number}")
            group["observations"] = np.full((3, 2), float(number))
            group["actions"], group["rewards"] = np.zeros((2, 1)), np.ones(2)
            group["terminations"] = group["truncations"] = np.zeros(2, bool)
    replay = opened(tmp_path)
    seen = [replay.episode(number)["observation", "value"][0, 0] for number in range(12)]
    assert seen == list(range(12))
    assert replay.observation_space == spaces.Box(-np.inf, np.inf, (2,), np.float64)


def test_reading_hdf5_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "data.hdf5").write_bytes(b"")
    with pytest.raises(UserError, match=r'needs h5py: pip install "loopverse\[hdf5\]"'):
        opened(tmp_path)

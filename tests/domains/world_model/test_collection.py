"""Collecting: the same to the bit for any number of environments, and after a kill at any moment."""

import filecmp
import os
import signal
import time
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from domains.world_model.toys import ACTIONS, OBSERVATIONS, TOY
from rich.console import Console

from loopverse.errors import UserError
from loopverse_world_model import recorder
from loopverse_world_model.collection import collect
from loopverse_world_model.policies import Policy, RandomPolicy, Rows, Scripted
from loopverse_world_model.replay import Replay

RANDOM = RandomPolicy(ACTIONS["discrete"], 0)


def assert_same_files(one: Path, other: Path) -> None:
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert names == sorted(str(p.relative_to(other)) for p in other.rglob("*") if p.is_file())
    _, different, missing = filecmp.cmpfiles(one, other, names, shallow=False)
    assert (different, missing) == ([], [])


@pytest.mark.parametrize("space", OBSERVATIONS)
@pytest.mark.parametrize("goal", [{"steps": 60}, {"episodes": 11}])
def test_the_files_are_the_same_for_any_number_of_environments(
    tmp_path: Path, space: str, goal: dict[str, int]
) -> None:
    for num_envs in (1, 3, 16):
        folder = tmp_path / str(num_envs)
        replay = collect(
            folder, TOY, RANDOM, **goal, num_envs=num_envs, env_kwargs={"space": space}
        )
        assert_same_files(tmp_path / "1", folder)
        assert replay.num_transitions >= goal.get("steps", 0)
        assert replay.num_episodes == goal.get("episodes", replay.num_episodes)


def test_episodes_are_those_of_the_environment_by_itself(tmp_path: Path) -> None:
    import gymnasium

    policy = Scripted("domains.world_model.toys:to_the_right", *spaces(), seed=0)
    replay = collect(tmp_path, TOY, policy, episodes=9, num_envs=4, seed=5)
    env = gymnasium.make(TOY)
    for number, entry in enumerate(replay.episodes):
        kept = replay.episode(number)
        observation, _ = env.reset(seed=entry.seed)
        assert (kept["observation", "value"][0].numpy() == observation).all()
        for step in range(entry.length):
            observation, reward, terminated, _, _ = env.step(int(kept["action"][step]))
            assert (kept["observation", "value"][step + 1].numpy() == observation).all()
            assert kept["reward"][step] == np.float32(reward)
            assert kept["terminated"][step] == terminated
        assert terminated
        assert (entry.policy, entry.environment) == (policy.name, TOY)


def spaces() -> tuple[Any, Any]:
    return OBSERVATIONS["vector"], ACTIONS["discrete"]


def test_an_episode_that_is_cut_off_is_not_terminated(tmp_path: Path) -> None:
    settings = {"shortest": 1, "longest": 9}
    replay = collect(tmp_path, TOY, RANDOM, episodes=30, env_kwargs=settings, max_episode_steps=4)
    assert max(replay.lengths) == 4
    for number, entry in enumerate(replay.episodes):
        assert bool(replay.episode(number)["terminated"].any()) == entry.terminated
    assert {entry.terminated for entry in replay.episodes if entry.length == 4} == {True, False}


def test_asking_for_more_goes_on_with_the_same_episodes(tmp_path: Path) -> None:
    collect(tmp_path / "parts", TOY, RANDOM, steps=30, num_envs=3)
    collect(tmp_path / "parts", TOY, RANDOM, steps=30, num_envs=2)  # is there already
    collect(tmp_path / "parts", TOY, RANDOM, steps=80, num_envs=5)
    collect(tmp_path / "whole", TOY, RANDOM, steps=80)
    assert_same_files(tmp_path / "parts", tmp_path / "whole")


def test_another_policy_goes_on_in_the_same_replay(tmp_path: Path) -> None:
    collect(tmp_path, TOY, RANDOM, episodes=4)
    other = Scripted("domains.world_model.toys:to_the_right", *spaces(), seed=0)
    replay = collect(tmp_path, TOY, other, episodes=6)
    assert [entry.policy for entry in replay.episodes] == ["random"] * 4 + [other.name] * 2
    assert len({entry.seed for entry in replay.episodes}) == 6


def test_a_policy_is_told_where_episodes_begin_and_which_rows_are_idle(tmp_path: Path) -> None:
    told: list[Rows] = []

    class Curious(RandomPolicy):
        def act(self, observations: Any, rows: Rows, memory: Any) -> tuple[Any, Any]:
            told.append(rows)
            return super().act(observations, rows, memory)

    policy: Policy = Curious(ACTIONS["discrete"], 0)
    replay = collect(tmp_path, TOY, policy, episodes=5, num_envs=3)
    begun = [int(rows.episode[row]) for rows in told for row in np.flatnonzero(rows.step == 0)]
    assert sorted(number for number in begun if number >= 0) == [0, 1, 2, 3, 4]
    played = np.concatenate([rows.episode for rows in told])
    assert [int((played == number).sum()) for number in range(5)] == replay.lengths.tolist()
    assert (told[-1].episode == -1).any()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("nan", "observation of episode {} at step 7 is nan"),
        ("reward", "reward of episode {} at step 6"),
    ],
)
@pytest.mark.parametrize("num_envs", [1, 4])
def test_numbers_that_are_not_finite_are_refused_and_what_came_before_is_kept(
    tmp_path: Path, broken: str, words: str, num_envs: int
) -> None:
    lengths = collect(tmp_path / "sound", TOY, RANDOM, episodes=30, seed=6).lengths
    first = int(np.argmax(lengths >= 7))  # the first that gets so far
    assert first > 0
    with pytest.raises(UserError, match=words.format(first)):
        collect(
            tmp_path / "broken",
            TOY,
            RANDOM,
            episodes=30,
            num_envs=num_envs,
            seed=6,
            env_kwargs={"broken": broken, "at": 7},
        )
    assert Replay.open(tmp_path / "broken").lengths.tolist() == lengths[:first].tolist()


@pytest.mark.parametrize("goal", [{}, {"steps": 3, "episodes": 3}, {"steps": 0}, {"episodes": -1}])
def test_a_goal_that_says_nothing_is_refused(tmp_path: Path, goal: dict[str, int]) -> None:
    with pytest.raises(UserError, match="ask for a number of steps or of episodes, at least 1"):
        collect(tmp_path, TOY, RANDOM, **goal)


def test_actions_that_are_not_one_for_each_row_are_refused(tmp_path: Path) -> None:
    class Lazy(RandomPolicy):
        def act(self, observations: Any, rows: Rows, memory: Any) -> tuple[Any, Any]:
            return np.zeros(1, np.int64), None

    with pytest.raises(UserError, match=r"gave actions of shape \[1\], expected \[3\]"):
        collect(tmp_path, TOY, Lazy(ACTIONS["discrete"], 0), steps=9, num_envs=3)


def test_a_policy_that_writes_into_its_last_actions_changes_nothing(tmp_path: Path) -> None:
    class Reusing(RandomPolicy):
        buffer = np.zeros(3, np.int64)

        def act(self, observations: Any, rows: Rows, memory: Any) -> tuple[Any, Any]:
            self.buffer[:], memory = super().act(observations, rows, memory)
            return self.buffer, memory

    for name, kind in (("reusing", Reusing), ("plain", RandomPolicy)):
        collect(tmp_path / name, TOY, kind(ACTIONS["discrete"], 0), steps=60, num_envs=3)
    assert_same_files(tmp_path / "reusing", tmp_path / "plain")


def test_progress_is_shown_on_a_console(tmp_path: Path) -> None:
    console = Console(file=StringIO(), force_terminal=True, width=80)
    collect(tmp_path, TOY, RANDOM, steps=40, console=console)
    shown = console.file.getvalue()  # type: ignore[attr-defined] # it is the one given
    assert "collecting" in shown
    assert "transitions" in shown


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_kill_at_any_moment_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"delay": 0.0003, "action": "box"}
    policy = RandomPolicy(ACTIONS["box"], 0)
    killed = tmp_path / "killed"

    def go_on() -> None:
        collect(killed, TOY, policy, episodes=40, num_envs=4, env_kwargs=settings)

    whole = collect(tmp_path / "whole", TOY, policy, episodes=40, env_kwargs=settings)
    monkeypatch.setattr(recorder, "SYNC_EVERY", 0)
    monkeypatch.setattr(recorder, "FEWEST", 8)  # grows often, and may be killed while it does
    kept = 0
    for patience in (0, 0.0007, 0.003, 0.0055):
        child = os.fork()
        if child == 0:
            try:
                go_on()
            finally:
                os._exit(0)
        deadline = time.monotonic() + 20
        while not index_lines(killed) > kept + 2 and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(patience)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        replay = Replay.open(killed)
        assert kept + 2 < replay.num_episodes < whole.num_episodes
        kept = replay.num_episodes
        assert (replay.records == whole.first(kept).records).all()
    go_on()
    assert_same_files(killed, tmp_path / "whole")


def index_lines(folder: Path) -> int:
    path = folder / "episodes.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0

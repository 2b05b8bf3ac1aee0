"""Collected replays stay in the cache, by all that they depend on."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from domains.world_model.toys import TOY

from loopverse.errors import UserError
from loopverse_world_model import kept as kept_module
from loopverse_world_model.kept import collected
from loopverse_world_model.replay import Replay

POLICY = "domains.world_model.toys:to_the_right"


def test_a_run_is_collected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = collected(TOY, steps=50, num_envs=3)
    assert first.num_transitions >= 50
    monkeypatch.setattr(kept_module, "collect", None)  # so that nothing can be played
    assert collected(TOY, steps=50, num_envs=8).folder == first.folder


@pytest.mark.parametrize(
    "setting",
    [
        {"steps": 60},
        {"seed": 1},
        {"policy": POLICY},
        {"repeat": 2},
        {"env_kwargs": {"longest": 5}},
        {"max_episode_steps": 4},
    ],
)
def test_another_setting_is_another_replay(setting: dict) -> None:
    assert collected(TOY, **{"steps": 50, **setting}).folder != collected(TOY, steps=50).folder


def test_another_text_of_a_policy_is_another_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    first = collected(TOY, steps=20, policy=POLICY)
    monkeypatch.setattr(kept_module, "text_of", lambda _: "changed")
    assert collected(TOY, steps=20, policy=POLICY).folder != first.folder


def test_another_version_of_gymnasium_is_another_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    first = collected(TOY, steps=20)
    monkeypatch.setattr(kept_module, "_version", lambda package: f"{package} 99")
    assert collected(TOY, steps=20).folder != first.folder


def test_what_a_kill_left_half_done_is_collected_on() -> None:
    whole = collected(TOY, steps=80)
    records, index = whole.records.clone(), whole.folder / "episodes.jsonl"
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:3]))
    again = collected(TOY, steps=80)
    assert again.folder == whole.folder
    assert (again.records == records).all()


def test_what_a_disk_damaged_is_collected_anew(caplog: pytest.LogCaptureFixture) -> None:
    whole = collected(TOY, steps=30)
    records = whole.records.clone()
    (whole.folder / "records" / "reward.memmap").write_bytes(b"")
    with caplog.at_level(logging.WARNING, "loopverse.world_model"):
        again = collected(TOY, steps=30)
    assert "is damaged: reward.memmap has 0 bytes" in caplog.text
    assert (again.records == records).all()


def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOOPVERSE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot write the cache .*; set LOOPVERSE_CACHE"):
        collected(TOY, steps=30)


ASK = f"""
from loopverse_world_model.kept import collected
print(collected({TOY!r}, steps=60, env_kwargs={{"delay": 0.005}}).folder)
"""


@pytest.mark.slow
def test_two_processes_that_ask_at_once_have_one_replay() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ASK],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert answers[0] == answers[1]
    assert Replay.open(answers[0]).num_transitions >= 60

"""Whole episodes for the score: returns with an interval, and a picture of one of them."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from loopverse.analysis import estimate
from loopverse.errors import UserError
from loopverse.exhibit import Estimate
from loopverse_world_model.environments import make, make_vector
from loopverse_world_model.episode import Recording
from loopverse_world_model.playing import Goal, play
from loopverse_world_model.policies import Policy

FRAMES = 200
"""Frames of a picture at most; of a longer episode every second, third ... one is shown."""
WIDEST = 320
"""Pixels of a frame at most."""


@dataclass
class Score:
    """What a policy got.

    Attributes:
        recordings: the episodes.
        seconds: that they took.
    """

    recordings: list[Recording] = field(repr=False)
    seconds: float

    @property
    def returns(self) -> list[float]:
        """The return of every episode."""
        return [float(one.reward.astype(np.float64).sum()) for one in self.recordings]

    @property
    def steps(self) -> int:
        """Of all episodes together."""
        return sum(len(one.reward) for one in self.recordings)

    @property
    def mean(self) -> Estimate:
        """Of the returns, with a 95 % interval over episodes (Student)."""
        return estimate(self.returns, [1.0] * len(self.recordings))

    @property
    def usual(self) -> Recording:
        """The episode with the median return."""
        order = np.argsort(self.returns, kind="stable")
        return self.recordings[int(order[len(order) // 2])]


def score(
    env_id: str,
    policy: Policy,
    episodes: int,
    *,
    seed: int,
    env_kwargs: Mapping[str, Any] | None = None,
    num_envs: int = 10,
    max_episode_steps: int | None = None,
    told: Callable[[Recording], None] | None = None,
) -> Score:
    """Play some episodes, side by side.

    Args:
        env_id: as in `make`.
        policy: who acts.
        episodes: how many.
        seed: of the episodes.
        env_kwargs: what the environment is made with.
        num_envs: how many are played side by side, at most.
        max_episode_steps: after which an episode is cut off; None: as in `make`.
        told: called with each episode, in their order.
    """
    began, recordings = time.perf_counter(), []
    rows = min(num_envs, episodes)
    with closing(
        make_vector(env_id, rows, env_kwargs, max_episode_steps=max_episode_steps)
    ) as envs:
        for recording in play(envs, policy, Goal(episodes=episodes), seed=seed):
            recordings.append(recording)
            if told is not None:
                told(recording)
    return Score(recordings, time.perf_counter() - began)


def animation(
    env_id: str, recording: Recording, env_kwargs: Mapping[str, Any] | None = None
) -> bytes:
    """An animated GIF of an episode, played again from its seed and actions.

    Raises:
        UserError: the environment cannot be rendered here.
    """
    frames = []
    try:
        with closing(make(env_id, env_kwargs, render_mode="rgb_array")) as env:
            env.reset(seed=recording.seed)
            frames.append(env.render())
            for action in recording.action:
                env.step(action)
                frames.append(env.render())
    except Exception as error:  # whatever a renderer raises: there is nothing to see
        raise UserError(f"{env_id} cannot be rendered here: {_reason(error)}") from error
    if not all(isinstance(frame, np.ndarray) and frame.ndim == 3 for frame in frames):
        raise UserError(f"{env_id} gives no pictures: its render mode rgb_array returns none")
    return _gif([frame for frame in frames if isinstance(frame, np.ndarray)])


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "pygame" in text:
        return 'it needs pygame: pip install "loopverse[classic]"'
    if "mujoco" in text.lower() or "gl" in text.lower():
        return f"{text}; without a display, MUJOCO_GL=egl or osmesa may help"
    return text


def _gif(frames: list[np.ndarray]) -> bytes:
    from PIL import Image  # comes with matplotlib

    stride = -(-len(frames) // FRAMES)
    pictures = []
    for frame in frames[::stride]:
        picture = Image.fromarray(np.ascontiguousarray(frame[..., :3]).astype(np.uint8))
        if picture.width > WIDEST:
            picture = picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)))
        pictures.append(picture.quantize(64))
    held = io.BytesIO()
    first, *rest = pictures
    first.save(held, "GIF", save_all=True, append_images=rest, duration=40 * stride, loop=0)
    return held.getvalue()

"""Fills a replay by playing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopverse_world_model.environments import make_vector
from loopverse_world_model.playing import Goal, Played, play
from loopverse_world_model.policies import Policy
from loopverse_world_model.recorder import Recorder
from loopverse_world_model.replay import Replay

if TYPE_CHECKING:
    from rich.console import Console


def collect(
    folder: str | Path,
    env_id: str,
    policy: Policy,
    *,
    steps: int | None = None,
    episodes: int | None = None,
    num_envs: int = 8,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    max_episode_steps: int | None = None,
    console: Console | None = None,
) -> Replay:
    """Play until the folder holds as much as was asked for, from wherever it stands.

    Episode `e` is begun with a seed that follows from `(seed, e)`, so the replay is the same to the bit
    for any `num_envs` and after any kill, as far as environment and policy follow their seeds. Episodes
    are whole, so there may be more steps than were asked for, by less than an episode.

    Args:
        folder: of a new replay, or of one to go on with, by this or another policy.
        env_id: as in `make`.
        policy: who acts.
        steps: transitions that the replay shall have in the end; or
        episodes: episodes that it shall have in the end.
        num_envs: how many play side by side.
        seed: of the episodes.
        env_kwargs: what the environment is made with.
        max_episode_steps: after which an episode is cut off; None: as in `make`.
        console: where to show progress; None: nowhere.

    Raises:
        UserError: observations or rewards that are not finite or not in their space, or a folder that
            holds other spaces.
    """
    goal = Goal(steps, episodes)
    envs = make_vector(env_id, num_envs, env_kwargs, max_episode_steps=max_episode_steps)
    spaces = envs.single_observation_space, envs.single_action_space
    with closing(envs), Recorder(Path(folder), *spaces) as recorder:
        played = Played(len(recorder.episodes), recorder.num_transitions)
        with _progress(console, goal) as show:
            show(recorder)
            for recording in play(envs, policy, goal, seed=seed, played=played, environment=env_id):
                recorder.append(recording)
                show(recorder)
    return Replay.open(folder)


@contextmanager
def _progress(console: Console | None, goal: Goal) -> Iterator[Callable[[Recorder], None]]:
    """A bar on a console, or nothing."""
    if console is None:
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    unit = "transitions" if goal.steps else "episodes"
    columns = TextColumn("collecting"), BarColumn(), MofNCompleteColumn(), TextColumn(unit)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=goal.steps or goal.episodes)

        def show(recorder: Recorder) -> None:
            done = recorder.num_transitions if goal.steps else len(recorder.episodes)
            bar.update(task, completed=done)

        yield show

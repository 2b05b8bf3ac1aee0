"""A planned episode beside a random one, in the environment itself."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from loopverse.domain import Think
from loopverse.errors import UserError
from loopverse.exhibit import Exhibit, Picture, TableExhibit
from loopverse_world_model.environments import make
from loopverse_world_model.planning.agent import PlanningPolicy
from loopverse_world_model.planning.settings import read_planner
from loopverse_world_model.playing_out import Score, animation, score
from loopverse_world_model.policies import RandomPolicy

if TYPE_CHECKING:
    from loopverse_world_model.adapter import WorldModel

STEPS = 200
"""After which both episodes are cut off."""
QUICKLY = ("candidates=64", "iterations=3", "elites=8")
"""Settings of a planner that answers in a few hundredths of a second."""


def play_exhibits(
    adapter: "WorldModel", think_at: Callable[[int], Think], trained: int
) -> Iterator[Exhibit]:
    """Returns of one episode each, and what they look like; nothing where it cannot be played.

    A model of given data knows no environment, unless one was named that has the same spaces.
    """
    env_id, env_kwargs = adapter.config.env, adapter.config.env_kwargs
    try:
        with closing(make(env_id, env_kwargs)) as env:
            if (env.observation_space, env.action_space) != (
                adapter.observation_space,
                adapter.action_space,
            ):
                return
    except UserError:  # it is not installed here
        return
    planner = read_planner(QUICKLY, adapter.actions.sizes)
    policies = {
        "planned": PlanningPolicy(adapter, think_at, trained, planner),
        "random": RandomPolicy(adapter.action_space, 0),
    }
    scores = {
        name: score(
            env_id, policy, 1, seed=0, env_kwargs=env_kwargs, max_episode_steps=STEPS, num_envs=1
        )
        for name, policy in policies.items()
    }
    pictures, missing = _pictures(env_id, env_kwargs, scores)
    yield TableExhibit(
        "A planned episode beside a random one",
        f"One episode of {env_id} each, from the same start, of at most {STEPS} steps; the planner is "
        f"{type(planner).__name__} with {', '.join(QUICKLY)}. One episode is no evidence: "
        f"`loopverse plan` plays more.{missing}",
        ["policy", "return", "steps"],
        [[name, one.returns[0], one.steps] for name, one in scores.items()],
    )
    yield from pictures


def _pictures(env_id: str, env_kwargs: dict, scores: dict[str, Score]) -> tuple[list[Picture], str]:
    """An animation of each episode, and why there is none."""
    pictures = []
    for name, one in scores.items():
        try:
            held = animation(env_id, one.usual, env_kwargs)
        except UserError as error:
            return [], f" No pictures: {error}."
        alt = f"{env_id} played by the {name} policy for {one.steps} steps"
        pictures.append(Picture(f"The {name} episode", f"{one.steps} steps.", held, alt))
    return pictures, ""

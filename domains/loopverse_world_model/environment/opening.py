"""A model to be played in: from a run folder, or as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tensordict import TensorDict

from loopverse import LoopedModel
from loopverse.domain import Think
from loopverse.errors import UserError
from loopverse.training import load
from loopverse_world_model.adapter import WorldModel
from loopverse_world_model.environments import LONGEST_EPISODE


@dataclass
class Opened:
    """What a world is made of.

    Attributes:
        adapter: of the model.
        think: its core, with a number of loops bound to it.
        beginnings: observations that an episode can begin with, raw, by leaf.
        max_steps: after which an episode is cut off.
    """

    adapter: WorldModel
    think: Think
    beginnings: TensorDict
    max_steps: int


def open_world(
    run: str | Path | None,
    model: LoopedModel | None,
    *,
    checkpoint: str | int,
    loops: int | None,
    max_steps: int | None,
    device: str,
) -> Opened:
    """Load a run, or take a model; arguments as in `LoopedWorldEnv`.

    Raises:
        UserError: neither or both of run and model, a run of another domain, or numbers below 1.
    """
    if (run is None) == (model is None):
        raise UserError(
            "a world is made of a run or of a model: give run='runs/NAME', or model=, got "
            f"{'neither' if run is None else 'both'}"
        )
    for name, number in (("loops", loops), ("max_steps", max_steps)):
        if number is not None and number < 1:
            raise UserError(f"{name} must be at least 1, got {number}")
    if run is not None:
        loaded = load(run, checkpoint, device)
        model, typical = loaded.model, loaded.config.schedule.typical()
    else:
        assert model is not None
        model, typical = model.to(device).eval(), model.core.config.loops
    adapter = model.adapter
    if not isinstance(adapter, WorldModel):
        raise UserError(
            f"{run or 'the model'} is of the domain {type(adapter).__name__}, expected one trained with "
            "domain=world_model"
        )
    limit = max_steps or _usual_length(adapter.config.env)
    return Opened(adapter, model.bind(loops or typical), adapter.beginnings, limit)


def _usual_length(env_id: str) -> int:
    """Steps after which the real environment cuts an episode off, where that is known."""
    import gymnasium

    spec = gymnasium.registry.get(env_id.rpartition(":")[2])
    return (spec and spec.max_episode_steps) or LONGEST_EPISODE

"""Reading what was imagined as if it had been seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loopverse_world_model.memory import Memory

if TYPE_CHECKING:
    from tensordict import TensorDict

    from loopverse_world_model.adapter import WorldModel


def reread(adapter: WorldModel, memory: Memory, observation: TensorDict) -> Memory:
    """The memory of rows for which an imagined observation is now the last one they saw.

    A model that was trained to see one observation and then imagine without any has never had a state and
    an observation at once: it begins anew from the observation. Every other one keeps its state.

    Args:
        adapter: of the model.
        memory: after the step that was imagined.
        observation: raw leaves, `[n ...]`.
    """
    dynamics = adapter.dynamics
    if not dynamics.decoded and adapter.config.context == 1:
        memory = dynamics.begin(len(memory))
    return dynamics.observe(memory, observation)

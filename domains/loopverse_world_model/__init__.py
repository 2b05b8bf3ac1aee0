"""Learn the dynamics of an environment by refining a latent state; imagine, plan, and play in it.

Importing it makes `loopverse/World-v0` known to Gymnasium.
"""

import gymnasium

from loopverse_world_model.adapter import WorldModel
from loopverse_world_model.config import WorldModelConfig

__all__ = ["WorldModel", "WorldModelConfig"]

gymnasium.register(
    "loopverse/World-v0",
    entry_point="loopverse_world_model.environment:LoopedWorldEnv",
    vector_entry_point="loopverse_world_model.environment:LoopedWorldVectorEnv",
)

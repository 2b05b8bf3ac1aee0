"""Learn the dynamics of an environment by refining a latent state; imagine, plan, and play in it."""

from loopverse_world_model.adapter import WorldModel
from loopverse_world_model.config import WorldModelConfig

__all__ = ["WorldModel", "WorldModelConfig"]

"""Learn the dynamics of an environment by refining a latent state; imagine, plan, and play in it."""

from loopverse_world_model.adapter import WorldModel
from loopverse_world_model.config import WorldModelConfig
from loopverse_world_model.registration import register_world

__all__ = ["WorldModel", "WorldModelConfig"]

register_world()

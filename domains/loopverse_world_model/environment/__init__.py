"""A trained world model as an environment: `LoopedWorldEnv`, and `LoopedWorldVectorEnv` with many rows."""

from loopverse_world_model.environment.batched import LoopedWorldVectorEnv
from loopverse_world_model.environment.single import LoopedWorldEnv

__all__ = ["LoopedWorldEnv", "LoopedWorldVectorEnv"]

"""Which loops a training loss looks at, and how much each of them counts."""

from loopverse.depth.objective.base import Every, Final, Lesson, LoopObjective
from loopverse.depth.objective.gate import Expected, GateDistillation, Pondered
from loopverse.depth.objective.routing import ExpertRouting, TokenRouting

__all__ = [
    "Every",
    "Expected",
    "ExpertRouting",
    "Final",
    "GateDistillation",
    "Lesson",
    "LoopObjective",
    "Pondered",
    "TokenRouting",
]

"""Depth: the one loop, and the small values that say how often, when to stop, how to differentiate.

Nothing in here knows of models: it sees tensors and a `step`.
"""

from loopverse.depth.budget import (
    Decreasing,
    Even,
    Increasing,
    LoopBudget,
    Peaked,
    Table,
)
from loopverse.depth.contraction import largest_gain, measured_quotient
from loopverse.depth.gradient import (
    AdjointReport,
    Checkpointed,
    Full,
    Implicit,
    LoopGradient,
    OneStep,
    Phantom,
    Truncated,
)
from loopverse.depth.halting import Active, ExitGate, ExitHead, FixedDepth, FixedPoint, Halting
from loopverse.depth.loop import Step, iterate
from loopverse.depth.objective import Every, Expected, Final, LoopObjective
from loopverse.depth.plan import LoopPlan, LoopResult
from loopverse.depth.schedule import (
    Constant,
    InverseCost,
    LognormalPoisson,
    LoopSchedule,
    Poisson,
    Ramp,
    Uniform,
)
from loopverse.depth.solve import Solution, solve

__all__ = [
    "Active",
    "AdjointReport",
    "Checkpointed",
    "Constant",
    "Decreasing",
    "Even",
    "Every",
    "ExitGate",
    "ExitHead",
    "Expected",
    "Final",
    "FixedDepth",
    "FixedPoint",
    "Full",
    "Halting",
    "Implicit",
    "Increasing",
    "InverseCost",
    "LognormalPoisson",
    "LoopBudget",
    "LoopGradient",
    "LoopObjective",
    "LoopPlan",
    "LoopResult",
    "LoopSchedule",
    "OneStep",
    "Peaked",
    "Phantom",
    "Poisson",
    "Ramp",
    "Solution",
    "Step",
    "Table",
    "Truncated",
    "Uniform",
    "iterate",
    "largest_gain",
    "measured_quotient",
    "solve",
]

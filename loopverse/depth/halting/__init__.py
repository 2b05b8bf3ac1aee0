"""Rules that decide when a unit (a token, a transition) has looped enough."""

from loopverse.depth.halting.base import (
    Active,
    FixedDepth,
    Halting,
    Knob,
    Memory,
    Read,
    ReadActive,
)
from loopverse.depth.halting.combined import AllOf, AnyOf, Bounded, Combined, Patience
from loopverse.depth.halting.gate import ExitGate, ExitHead, Gated, Ponder
from loopverse.depth.halting.prediction import Confidence, PredictionKL
from loopverse.depth.halting.routing import DepthHead, ExpertChoice, TokenChoice, chosen
from loopverse.depth.halting.rules import RULES
from loopverse.depth.halting.state import FixedPoint, SecondOrder

__all__ = [
    "RULES",
    "Active",
    "AllOf",
    "AnyOf",
    "Bounded",
    "Combined",
    "Confidence",
    "DepthHead",
    "ExitGate",
    "ExitHead",
    "ExpertChoice",
    "FixedDepth",
    "FixedPoint",
    "Gated",
    "Halting",
    "Knob",
    "Memory",
    "Patience",
    "Ponder",
    "PredictionKL",
    "Read",
    "ReadActive",
    "SecondOrder",
    "TokenChoice",
    "chosen",
]

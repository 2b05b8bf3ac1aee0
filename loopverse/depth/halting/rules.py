"""Every rule by the name it is chosen with."""

from loopverse.depth.halting.base import FixedDepth, Halting
from loopverse.depth.halting.combined import AllOf, AnyOf, Bounded, Patience
from loopverse.depth.halting.gate import ExitGate, Ponder
from loopverse.depth.halting.prediction import Confidence, PredictionKL
from loopverse.depth.halting.routing import ExpertChoice, TokenChoice
from loopverse.depth.halting.state import FixedPoint, SecondOrder

RULES: dict[str, type[Halting]] = {
    "fixed_depth": FixedDepth,
    "fixed_point": FixedPoint,
    "second_order": SecondOrder,
    "prediction_kl": PredictionKL,
    "confidence": Confidence,
    "exit_gate": ExitGate,
    "ponder": Ponder,
    "expert_choice": ExpertChoice,
    "token_choice": TokenChoice,
    "any_of": AnyOf,
    "all_of": AllOf,
    "patience": Patience,
    "bounded": Bounded,
}
"""The group `halting`."""

"""What a trained model is worth: evaluation at every depth, what it costs, and the report of a run."""

from loopverse.analysis.depths import Depth, DepthTable, check_depths, usual_depths
from loopverse.analysis.efficiency import Cost, Part, applied, core_flops, measure_cost, parts
from loopverse.analysis.evaluate import evaluate_depths, evaluate_run
from loopverse.analysis.plots import training_curve
from loopverse.analysis.report import write_report
from loopverse.analysis.statistics import Estimate, estimate

__all__ = [
    "Cost",
    "Depth",
    "DepthTable",
    "Estimate",
    "Part",
    "applied",
    "check_depths",
    "core_flops",
    "estimate",
    "evaluate_depths",
    "evaluate_run",
    "measure_cost",
    "parts",
    "training_curve",
    "usual_depths",
    "write_report",
]

"""What a trained model is worth: evaluation at every depth, what it costs, and the report of a run."""

from loopverse.analysis.allocation import Allocation, collect_allocation
from loopverse.analysis.depths import Depth, DepthTable, check_depths, usual_depths
from loopverse.analysis.difficulty import (
    Distribution,
    Group,
    Relation,
    Spent,
    distribution,
    rank_correlation,
    ranks,
    relation,
)
from loopverse.analysis.diversity import byte_entropy, distinct
from loopverse.analysis.efficiency import (
    BlockCount,
    Cost,
    Part,
    applied,
    core_flops,
    measure_cost,
    parts,
)
from loopverse.analysis.evaluate import evaluate_depths, evaluate_rules, evaluate_run
from loopverse.analysis.exhibits import Exhibition, collect_exhibits
from loopverse.analysis.generation import evaluate_quality
from loopverse.analysis.judging import Judge, Verdict
from loopverse.analysis.plots import training_curve
from loopverse.analysis.quality import Quality, QualityTable
from loopverse.analysis.report import write_report
from loopverse.analysis.statistics import Estimate, estimate
from loopverse.analysis.ways import Reading, WayTable, read_in_ways

__all__ = [
    "Allocation",
    "BlockCount",
    "Cost",
    "Depth",
    "DepthTable",
    "Distribution",
    "Estimate",
    "Exhibition",
    "Group",
    "Judge",
    "Part",
    "Quality",
    "QualityTable",
    "Reading",
    "Relation",
    "Spent",
    "Verdict",
    "WayTable",
    "applied",
    "byte_entropy",
    "check_depths",
    "collect_allocation",
    "collect_exhibits",
    "core_flops",
    "distinct",
    "distribution",
    "estimate",
    "evaluate_depths",
    "evaluate_quality",
    "evaluate_rules",
    "evaluate_run",
    "measure_cost",
    "parts",
    "rank_correlation",
    "ranks",
    "read_in_ways",
    "relation",
    "training_curve",
    "usual_depths",
    "write_report",
]

"""Planning: actions that are searched for by imagining what they bring."""

from loopverse_world_model.planning.categorical import CategoricalCEM
from loopverse_world_model.planning.cem import CEM
from loopverse_world_model.planning.dice import Dice
from loopverse_world_model.planning.icem import ICEM
from loopverse_world_model.planning.mppi import MPPI
from loopverse_world_model.planning.planner import Plan, Planner, Search, World

PLANNERS: dict[str, type[Planner]] = {
    "cem": CEM,
    "icem": ICEM,
    "mppi": MPPI,
    "categorical": CategoricalCEM,
}
"""Every planner by the name it is chosen with."""

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "PLANNERS",
    "CategoricalCEM",
    "Dice",
    "Plan",
    "Planner",
    "Search",
    "World",
]

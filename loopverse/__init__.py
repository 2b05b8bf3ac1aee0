"""Loopverse: looped models, where depth is something a network spends, not something it stores.

The public names below are imported when they are first used, so that `import loopverse` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loopverse.depth import LoopPlan, LoopResult, iterate
    from loopverse.domain import DomainAdapter, Outcome, Sample, SampleSettings, Think, Thought
    from loopverse.model import LoopedModel
    from loopverse.nn import Attend, CoreConfig, CoreInput, KVCache, RecurrentCore
    from loopverse.training import load, train
    from loopverse.training.compose import compose

__version__ = "0.1.0"

_HOMES = {
    "Attend": "loopverse.nn",
    "CoreConfig": "loopverse.nn",
    "CoreInput": "loopverse.nn",
    "DomainAdapter": "loopverse.domain",
    "KVCache": "loopverse.nn",
    "LoopPlan": "loopverse.depth",
    "LoopResult": "loopverse.depth",
    "LoopedModel": "loopverse.model",
    "Outcome": "loopverse.domain",
    "RecurrentCore": "loopverse.nn",
    "Sample": "loopverse.domain",
    "SampleSettings": "loopverse.domain",
    "Think": "loopverse.domain",
    "Thought": "loopverse.domain",
    "compose": "loopverse.training.compose",
    "iterate": "loopverse.depth",
    "load": "loopverse.training",
    "train": "loopverse.training",
}

__all__ = [
    "Attend",
    "CoreConfig",
    "CoreInput",
    "DomainAdapter",
    "KVCache",
    "LoopPlan",
    "LoopResult",
    "LoopedModel",
    "Outcome",
    "RecurrentCore",
    "Sample",
    "SampleSettings",
    "Think",
    "Thought",
    "__version__",
    "compose",
    "iterate",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'loopverse' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value

"""Training: from a configuration to a run folder, and back.

The public names below are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loopverse.training.build import build_model
    from loopverse.training.evaluation import evaluate
    from loopverse.training.interrupt import Stopped
    from loopverse.training.loaded import LoadedRun, load
    from loopverse.training.loop import NonFiniteError, Run, train
    from loopverse.training.progress import (
        PlainReporter,
        Reporter,
        RichReporter,
        console_reporter,
    )
    from loopverse.training.runs import RunFolder
    from loopverse.training.use import read_halting

_HOMES = {
    "LoadedRun": "loaded",
    "NonFiniteError": "loop",
    "PlainReporter": "progress",
    "Reporter": "progress",
    "RichReporter": "progress",
    "Run": "loop",
    "RunFolder": "runs",
    "Stopped": "interrupt",
    "build_model": "build",
    "console_reporter": "progress",
    "evaluate": "evaluation",
    "load": "loaded",
    "read_halting": "use",
    "train": "loop",
}

__all__ = [
    "LoadedRun",
    "NonFiniteError",
    "PlainReporter",
    "Reporter",
    "RichReporter",
    "Run",
    "RunFolder",
    "Stopped",
    "build_model",
    "console_reporter",
    "evaluate",
    "load",
    "read_halting",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'loopverse.training' has no attribute {name!r}")
    return getattr(import_module(f"loopverse.training.{_HOMES[name]}"), name)

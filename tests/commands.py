"""Commands in this process: what they are called with in tests, and what comes back."""

from collections.abc import Callable
from dataclasses import dataclass

TINY = ("domain=toy", "size=tiny", "core.loops=2", "training.steps=2", "training.batch_size=2")
QUICK = (*TINY, "training.valid_batches=1", "training.trackers=[]", "training.precision=fp32")
"""Overrides that make a run last a second."""


@dataclass
class Answer:
    """What a command did: its exit status, and what it wrote."""

    status: int
    out: str
    err: str


Command = Callable[..., Answer]
Refusal = Callable[..., str]

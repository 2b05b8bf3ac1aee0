"""Weights that are computed from parameters, computed once for several calls."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import nn

Value = TypeVar("Value")

_kept: ContextVar[dict[Any, Any] | None] = ContextVar("weights kept for reuse", default=None)


@contextmanager
def reuse_weights() -> Iterator[None]:
    """Within it, calls of a core compute once what depends on its parameters alone.

    For a rollout, whose every step calls the core. It only saves time: a parameter that changes is
    noticed. With gradients, the calls share a graph: differentiate their losses together, once.
    Contexts may be nested; the outermost one counts.
    """
    if _kept.get() is not None:
        yield
        return
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def computed_once(module: nn.Module, compute: Callable[[], Value]) -> Value:
    """What `compute` makes of the parameters of `module`, or made of them before in `reuse_weights`."""
    kept = _kept.get()
    if kept is None:
        return compute()
    parameters = list(module.parameters())
    device = parameters[0].device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    key = (module, torch.is_grad_enabled(), torch.is_inference_mode_enabled(), dtype)
    state = [(p, 0 if p.is_inference() else p._version) for p in parameters]
    if key not in kept or not _same(kept[key][0], state):
        kept[key] = (state, compute())
    return kept[key][1]


def _same(before: list[tuple[nn.Parameter, int]], now: list[tuple[nn.Parameter, int]]) -> bool:
    return all(a is b and m == n for (a, m), (b, n) in zip(before, now, strict=True))

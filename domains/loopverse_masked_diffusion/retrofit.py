"""A trained masked-diffusion model without loops, made into a looped one."""

import copy

from loopverse import LoopedModel
from loopverse.nn import loopify_core


def loopify(model: LoopedModel, layers: tuple[int, ...] = (1, 2), loops: int = 4) -> LoopedModel:
    """A looped copy of a model; at one loop its logits are the original's. Train it on from there.

    Args:
        model: with `core.loops=1`; it is left as it is.
        layers: which layers loop, counted from 0: the early-middle ones (LoopMDM, 2605.26106).
        loops: the nominal number of loops.

    Raises:
        ValueError: a model that loops already, or layers that it does not have.
    """
    looped = copy.deepcopy(model)
    looped.core = loopify_core(model.core, layers, loops)
    return looped

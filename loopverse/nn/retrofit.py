"""A trained core without loops made into a looped one that starts as the same function."""

from dataclasses import replace

from torch import nn

from loopverse.nn.body import LoopBody
from loopverse.nn.core import RecurrentCore
from loopverse.nn.injection import Add, NoInjection
from loopverse.nn.state import Embed, Zeros


def loopify_core(core: RecurrentCore, layers: tuple[int, ...], loops: int = 4) -> RecurrentCore:
    """The same layers with another part of them looped; at one loop it computes what `core` does.

    Source: LoopMDM (2605.26106) loops early-middle layers of a masked-diffusion model.

    Args:
        core: made for one loop; it is left as it is.
        layers: the layers to loop, consecutive, counted from 0 through prelude, loop and coda.
        loops: the nominal number of loops of the result.

    Raises:
        ValueError: a core that loops already or normalises between its parts, or layers that it does
            not have.
    """
    config = core.config
    if config.loops != 1:
        raise ValueError(
            f"loopify takes a model trained without loops (core.loops=1), got one of {config.loops}"
        )
    passes = (isinstance(config.injection, NoInjection) and isinstance(config.init, Embed)) or (
        isinstance(config.injection, Add) and isinstance(config.init, Zeros)
    )
    if not passes or config.prelude_norm or config.state_norm != "none":
        raise ValueError(
            "loopify needs a core whose parts follow on each other unchanged at one loop: "
            "core/injection=none core/init=embed, or add with zeros, and no prelude_norm or state_norm"
        )
    total = config.num_prelude + config.num_loop + config.num_coda
    first, last = (layers[0], layers[-1]) if layers else (0, -1)
    if tuple(layers) != tuple(range(first, last + 1)) or first < 0 or last >= total or not layers:
        raise ValueError(
            f"layers to loop must be consecutive and among 0 to {total - 1}, got {tuple(layers)}"
        )
    if loops < 1:
        raise ValueError(f"the number of loops must be at least 1, got {loops}")
    looped = RecurrentCore(
        replace(
            config,
            num_prelude=first,
            num_loop=len(layers),
            num_coda=total - last - 1,
            loops=loops,
            tied=True,
        )
    )
    for mine, other in zip(_blocks(looped), _blocks(core), strict=True):
        mine.load_state_dict(other.state_dict())
    looped.output_norm.load_state_dict(core.output_norm.state_dict())
    return looped.to(next(core.parameters())).train(core.training)


def _blocks(core: RecurrentCore) -> list[nn.Module]:
    """All layers, in the order of one loop."""
    body = core.bodies[0]
    assert isinstance(body, LoopBody)
    return [*core.prelude.blocks, *body.layers.blocks, *core.coda.blocks]

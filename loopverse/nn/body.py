"""One loop as a module: inject, looped layers, next state."""

from collections.abc import Callable
from functools import partial
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from loopverse.nn.block import Stack
from loopverse.nn.config import CoreConfig
from loopverse.nn.context import Context
from loopverse.nn.contractive import ContractiveStack, Rescaled
from loopverse.nn.norm import RMSNorm

Loop = Callable[[Tensor, Tensor, Context, int | Tensor], Tensor]
"""One loop, ready to run: `(z, e, context, loop) -> z`; `loop` is `[n]` where rows are in different ones."""


class LoopBody(nn.Module):
    """One loop: inject, looped layers, next state: `z <- f(z, e)`."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.injection = config.injection.build(config.width, config.num_loop)
        branch_scale = 1 / config.loops if config.scale_branches else 1.0
        self.layers = Stack(config, config.num_loop, config.num_prelude, branch_scale)
        every = config.state_norm == "every"
        self.norm = RMSNorm(config.width) if every else nn.Identity()

    def forward(
        self,
        z: Float[Tensor, "b t d"],
        e: Float[Tensor, "b t d"],
        context: Context,
        loop: int | Tensor = 0,
    ) -> Float[Tensor, "b t d"]:
        h = self.injection.read(z, e)
        h = self.layers(h, context, self.injection.residual, loop)
        return self.norm(self.injection.write(z, e, h))

    def ready(self) -> Loop:
        """The loop, with all done that is done once a call and not once a loop."""
        return self

    def certified_gain(self) -> float | None:
        """A proven Lipschitz constant of `z -> f(z, e)`; None where nothing is proven."""
        return None


class ContractiveBody(nn.Module):
    """One loop whose layers are Lipschitz by construction: `ContractiveStack`.

    With `s` the constant of the layers, the injection makes of it that of the whole map.
    """

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        self.injection = config.injection.build(config.width, config.num_loop)
        self.layers = ContractiveStack(config)

    def forward(
        self,
        z: Float[Tensor, "b t d"],
        e: Float[Tensor, "b t d"],
        context: Context,
        loop: int | Tensor = 0,
        weights: list[Rescaled] | None = None,
    ) -> Float[Tensor, "b t d"]:
        h = self.layers(self.injection.read(z, e), context, weights or self.layers.rescaled(), loop)
        return self.injection.write(z, e, h)

    def ready(self) -> Loop:
        """The loop with its weights rescaled."""
        return partial(self, weights=self.layers.rescaled())

    def certified_gain(self) -> float | None:
        """A proven Lipschitz constant of `z -> f(z, e)`."""
        return self.injection.certified_gain(self.layers.certified_gain())


def body_of(config: CoreConfig) -> LoopBody | ContractiveBody:
    """The loop that the settings ask for."""
    certified = config.injection.certified_tokens is not None
    return ContractiveBody(config) if certified else LoopBody(config)


class Bodies(nn.ModuleList):
    """One body for all loops, or one for each."""

    def ready(self, depth: int) -> list[Loop]:
        """The loops of a call of that depth, or the one that they all are."""
        return [body.ready() for body in self._typed()[:depth]]

    def certified_gain(self) -> float | None:
        """The largest of their constants; None where one of them has none."""
        gains = [body.certified_gain() for body in self._typed()]
        proven = [gain for gain in gains if gain is not None]
        return max(proven) if len(proven) == len(gains) else None

    def _typed(self) -> list[LoopBody | ContractiveBody]:
        return cast(list[LoopBody | ContractiveBody], list(self))

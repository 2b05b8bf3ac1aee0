"""What a model costs: exact parameters by part, forward FLOPs per unit at any depth, layers evaluated."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from loopverse.depth import LoopResult
from loopverse.domain import Thought
from loopverse.model import LoopedModel
from loopverse.nn import Attention, CoreConfig, CoreInput, RecurrentCore
from loopverse.nn.block import Block, Modulation


@dataclass
class Part:
    """A part of a model.

    Attributes:
        name: "domain", "prelude", "loop", "coda" or "halting".
        layers: transformer layers of one pass.
        parameters: numbers it stores.
        once: numbers that one pass of it applies; fewer than it stores where every loop has its own.
    """

    name: str
    layers: int
    parameters: int
    once: int


def parts(model: LoopedModel) -> list[Part]:
    """Every parameter of a model, counted once, in the first part that uses it."""
    core, config = model.core, model.core.config
    loop = sum(p.numel() for p in core.bodies[0].parameters())
    seen: set[Tensor] = set()

    def count(*modules: nn.Module | None) -> int:
        """Parameters of these that no part before had."""
        own = {p for module in modules if module is not None for p in module.parameters()} - seen
        seen.update(own)
        return sum(p.numel() for p in own)

    sizes = {
        "domain": count(model.adapter),
        "prelude": count(core.prelude, core.prelude_norm),
        "loop": count(*core.bodies),
        "coda": count(core.state_norm, core.coda, core.output_norm),
        "halting": count(model.head),
    }
    layers = {"prelude": config.num_prelude, "loop": config.num_loop, "coda": config.num_coda}
    once = sizes | {"loop": loop}
    return [Part(name, layers.get(name, 0), size, once[name]) for name, size in sizes.items()]


def applied(parts: list[Part], depth: int) -> int:
    """Parameters that a unit passes at `depth` loops: what a model without loops would store."""
    return sum(part.once * (depth if part.name == "loop" else 1) for part in parts)


def core_flops(core: RecurrentCore, length: int, past: int, depth: int) -> float:
    """Forward FLOPs of the core for one row of `length` new units after `past` cached ones.

    A multiplication with an addition counts as two. Attention counts the whole square, causal or not,
    as `torch.utils.flop_counter` does, and nothing where a position has only itself to read; norms, rotary
    angles and activations are left out.
    """
    ends = sum(_flops(part, length, past) for part in (core.prelude, core.coda))
    return ends + depth * _flops(core.bodies[0], length, past)


@dataclass
class Cost:
    """Forward FLOPs of a model on one batch: what the domain does, and its calls of the core.

    Attributes:
        units: units in the batch, padding included.
        domain: FLOPs outside the core.
        calls: rows, new positions and cached positions of every call of the core.
    """

    units: int
    domain: float
    calls: list[tuple[int, int, int]]

    def per_unit(self, core: RecurrentCore, depth: int) -> float:
        """Forward FLOPs per unit at `depth` loops."""
        looped = sum(
            rows * core_flops(core, length, past, depth) for rows, length, past in self.calls
        )
        return (self.domain + looped) / self.units


@torch.no_grad()
def measure_cost(model: LoopedModel, batch: TensorDict) -> Cost:
    """What a prepared batch costs, whatever the domain does with the core.

    The domain runs once around a core that only notes what it is asked, and its own matrix products
    are counted as they happen.
    """
    listener = _Listener()
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:  # fused attention on the CPU is not counted
        outcome = model.adapter(listener, batch)
    return Cost(outcome.losses.numel(), counter.get_total_flops(), listener.calls)


@dataclass
class _Listener:
    """A `think` that thinks nothing."""

    calls: list[tuple[int, int, int]] = field(default_factory=list)

    def __call__(
        self,
        inputs: CoreInput,
        carry: Tensor | None = None,
        outer: float | Tensor = 0.0,
        keep: Tensor | None = None,
    ) -> Thought:
        rows, length, _ = inputs.x.shape
        past = inputs.cache.length if inputs.cache is not None else 0
        self.calls.append((rows, length, past))
        z = inputs.x if carry is None else carry
        depth = torch.ones(rows, length, dtype=torch.long, device=z.device)
        return Thought([z], LoopResult(z, depth))


@dataclass
class BlockCount:
    """Counts the layers that are evaluated, one row through one layer being one block evaluation.

    Give it to `bind` as `observe`: it adds up the calls that a domain really makes, over all of its
    outer process, so that samplers with another number of calls, rows or loops can be compared. A row
    costs prelude + loops x looped layers + coda, its loops being the mean over its units. Where a
    halting rule stops units one by one, this is what they asked for: a row is computed until its last
    unit stops.

    Attributes:
        core: whose layers are counted.
        calls: of the core so far.
        blocks: block evaluations so far, over all rows.
    """

    core: CoreConfig
    calls: int = 0
    blocks: float = 0.0

    def __call__(self, result: LoopResult) -> None:
        """Add one call of the core."""
        loops = result.depth.double().mean(dim=1)  # [b]
        once = self.core.num_prelude + self.core.num_coda
        self.calls += 1
        self.blocks += float((once + self.core.num_loop * loops).sum())


def _flops(part: nn.Module, length: int, past: int) -> float:
    """Of a part for one row: its matrices, and its attention."""
    flops = _matrix_flops(part, length)
    for module in part.modules():
        if isinstance(module, Attention):
            width = module.num_heads * module.head_width
            alone = module.sees_itself_alone(length, past)
            flops += 0 if alone else 4 * width * length * (past + length)
        if isinstance(module, Block) and module.attention.sees_itself_alone(length, past):
            attention = module.attention  # of which only the values are computed
            unread = (attention.num_heads + attention.num_kv_heads) * attention.head_width
            flops -= 2 * length * unread * attention.qkv.in_features
    return flops


def _matrix_flops(part: nn.Module, length: int) -> float:
    """Every matrix once per unit; those that turn a row's condition into modulation once per row."""
    return sum(
        2 * matrix.numel() * (1 if per_row else length) for matrix, per_row in _matrices(part)
    )


def _matrices(part: nn.Module) -> Iterator[tuple[Tensor, bool]]:
    per_row = {p for m in part.modules() if isinstance(m, Modulation) for p in m.parameters()}
    for parameter in part.parameters():
        if parameter.ndim == 2:
            yield parameter, parameter in per_row

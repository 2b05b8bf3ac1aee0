"""The core over texts in places: each in a loop of its own, one call of the looped layers for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import Distribution

from loopverse.depth import Active, LoopPlan, LoopResult, iterate
from loopverse.nn.body import Loop
from loopverse.nn.context import Context, in_autocast
from loopverse.nn.places import At, Places
from loopverse.nn.rotary import rotary_angles
from loopverse.nn.state import Noise

if TYPE_CHECKING:
    from loopverse.nn.core import CoreInput, RecurrentCore


def go_on(
    core: RecurrentCore,
    inputs: CoreInput,
    plan: LoopPlan,
    noise: Noise,
    read: Callable[[Tensor], Distribution] | None,
    tap: Callable[[int, Tensor], None] | None,
) -> tuple[Tensor, LoopResult]:
    """Let the next units of some texts join those under way, and loop until some are done.

    Returns:
        The readouts of those that are done, `[n 1 d]`, and what came out of the loop; its `rows` are
        their places.

    Raises:
        ValueError: units that are not one for each place, or read more than what was before them.
    """
    at = inputs.places
    assert at is not None
    _check(inputs, at)
    places, config = at.places, core.config
    looped = range(config.num_prelude, config.num_prelude + config.num_loop)
    kv = plan.halting.kv if plan.halting.adaptive else "copy"
    kv = "last" if plan.halting.kv == "last" else kv
    places.begin(plan.deepest, kv, looped)
    z = _start(core, inputs, at, noise) if len(at.rows) else inputs.x
    bodies = core.bodies.ready(plan.deepest)
    present = _AtHand(places)

    def step(z: Tensor, loops: Tensor, active: Active | None) -> Tensor:
        assert active is not None
        e, context = present.of(active)
        if config.tied:
            return bodies[0](z, e, context, loops)
        return _each_in_its_own(bodies, z, loops, active.rows, places)

    def look(z: Tensor, active: Active | None) -> Distribution:
        assert read is not None
        assert active is not None
        return read(core.finish(z, present.of(active)[1]))

    places.roster.join(at.rows)
    result = iterate(
        step, z, plan, read=None if read is None else look, tap=tap, staggered=places.roster
    )
    assert result.rows is not None
    readout = core.finish(result.z, _AtHand(places).of(Active(result.rows))[1])
    places.advance(result.rows, result.depth, looped, plan.deepest)
    return readout, result


def _start(core: RecurrentCore, inputs: CoreInput, at: At, noise: Noise) -> Tensor:
    """The initial states of the units that join."""
    x, config, positions = in_autocast(inputs.x), core.config, at.positions[:, None]
    cos, sin = rotary_angles(positions, config.width // config.num_heads, config.rotary_base)
    read = {"cos": cos.to(x.dtype), "sin": sin.to(x.dtype)}
    if inputs.cond is not None:
        read["cond"] = inputs.cond
    at.places.keep(at.rows, **read)
    _, context = _AtHand(at.places).of(Active(at.rows))
    e = core.prelude_norm(core.prelude(x, context))
    at.places.keep(at.rows, e=e)
    return config.init.start(e, positions, noise)


def _each_in_its_own(
    bodies: list[Loop], z: Tensor, loops: Tensor, rows: Tensor, places: Places
) -> Tensor:
    """One loop of units whose loops have layers of their own."""
    after = torch.empty_like(z)
    for loop in loops.unique().tolist():
        units = (loops == loop).nonzero().squeeze(1)
        e, context = _AtHand(places).of(Active(rows[units]))
        after[units] = bodies[loop](z[units], e, context, loop)
    return after


class _AtHand:
    """The input and the context of the units at hand."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._active: Active | None = None

    def of(self, active: Active) -> tuple[Tensor, Context]:
        if active is not self._active:
            rows, places = active.rows, self._places
            at = places.at(rows)
            cos, sin = places.kept("cos", rows), places.kept("sin", rows)
            assert cos is not None
            assert sin is not None
            context = Context(cos, sin, True, cond=places.kept("cond", rows), at=at)
            e = places.kept("e", rows)
            self._active, self._part = active, (cos if e is None else e, context)
        return self._part


def _check(inputs: CoreInput, at: At) -> None:
    attend = inputs.attend
    if not attend.causal or attend.padding is not None or attend.segments is not None:
        raise ValueError(
            "a unit in a place reads all that its text has before it: pass Attend(causal=True) without "
            "padding and segments"
        )
    if inputs.cache is not None or inputs.positions is not None:
        raise ValueError(
            "places hold the keys and positions of their texts: pass no cache and no positions"
        )
    if list(inputs.x.shape[:2]) != [len(at.rows), 1]:
        raise ValueError(
            f"x must have the shape [{len(at.rows)}, 1, width], one unit for each place that was named, "
            f"got {list(inputs.x.shape)}"
        )

"""The recurrent core: prelude, loop, coda, for every domain."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Distribution

from loopverse.depth import Active, LoopPlan, LoopResult, iterate
from loopverse.nn.attend import Attend
from loopverse.nn.block import Stack, init_weights
from loopverse.nn.body import Bodies, Loop, body_of
from loopverse.nn.cache import Halted, KVCache
from loopverse.nn.config import CoreConfig
from loopverse.nn.context import Context, in_autocast
from loopverse.nn.norm import RMSNorm
from loopverse.nn.packing import OwnKeys
from loopverse.nn.places import At
from loopverse.nn.rotary import rotary_angles
from loopverse.nn.staggered import go_on
from loopverse.nn.state import Noise


@dataclass
class CoreInput:
    """What a domain gives the core to read.

    Attributes:
        x: embedded units.
        attend: which positions a position may read.
        positions: of each unit, for rotary angles and initial noise; None: counted from the end of the
            cache, padding left out.
        cond: a condition per row, for a core with `conditioned=true`.
        cache: keys and values of earlier calls, extended by this one.
        places: instead of a batch of its own, these are the next units of texts in `Places`, one of each,
            which join those under way. What comes out is of the units that are done.
    """

    x: Float[Tensor, "b t d"]
    attend: Attend
    positions: Int[Tensor, "b t"] | None = None
    cond: Float[Tensor, "b d"] | None = None
    cache: KVCache | None = None
    places: At | None = None


@dataclass
class CoreOutput:
    """What the core makes of it.

    Attributes:
        readouts: ready for the prediction: after the last loop, or after every loop when the plan
            keeps states.
        result: what came out of the loop itself.
    """

    readouts: list[Float[Tensor, "b t d"]]
    result: LoopResult


class RecurrentCore(nn.Module):
    """Layers run once, layers run again and again, layers run once.

    `e = prelude(x)`, `z_0 = init(e)`, `z_{i+1} = f(z_i, e)`, output `coda(z_R)`. With `tied=false` every
    loop owns its layers: the baseline of the same FLOPs.

    Raises:
        ValueError: settings that no core can have (`CoreConfig.check`).
    """

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        self.prelude = Stack(config, config.num_prelude, 0)
        self.prelude_norm = RMSNorm(config.width) if config.prelude_norm else nn.Identity()
        self.bodies = Bodies(body_of(config) for _ in range(1 if config.tied else config.loops))
        last = config.state_norm == "last"
        self.state_norm = RMSNorm(config.width) if last else nn.Identity()
        self.coda = Stack(config, config.num_coda, config.num_prelude + config.num_loop)
        self.output_norm = RMSNorm(config.width) if config.output_norm else nn.Identity()
        init_weights(self, config.width, config.num_applied)

    def compile_blocks(self) -> None:
        """Compile prelude, body and coda, each for itself, with the loop outside.

        So a depth drawn anew at every step never compiles again.
        """
        for part in (self.prelude, *self.bodies, self.coda):
            part.compile()

    def forward(
        self,
        inputs: CoreInput,
        plan: LoopPlan,
        noise: Noise,
        *,
        carry: Float[Tensor, "b t d"] | None = None,
        keep: Float[Tensor, "b t"] | None = None,
        read: Callable[[Tensor], Distribution] | None = None,
        tap: Callable[[int, Tensor], None] | None = None,
    ) -> CoreOutput:
        """Read the input as often as the plan says.

        Args:
            inputs: what to read.
            plan: how deep, when to stop, how to differentiate.
            noise: where an initial state drawn at random comes from.
            carry: an initial state from an earlier call, instead of a new one.
            keep: how much of `carry` each unit starts from, in [0, 1], the rest being a new state;
                None: all of it.
            read: turns a readout into the domain's predictive distribution.
            tap: called after each loop with its index and the state.

        Raises:
            ValueError: input of another width, a condition that is missing or not expected, more loops
                than an untied core has.
        """
        self._check(inputs, carry, keep)
        self._check_plan(plan)
        if inputs.places is not None:
            readout, result = go_on(self, inputs, plan, noise, read, tap)
            return CoreOutput([readout], result)
        if inputs.cache is not None and isinstance(plan.depth, Tensor):
            raise ValueError(
                "rows cannot join between loops while a cache is in use: use one depth for all rows"
            )
        if inputs.cache is not None:
            self._begin(inputs.cache, plan)
        e, context = self._read(inputs)
        if carry is None or keep is not None:
            positions = self._positions(inputs).expand(inputs.x.shape[:2])
            z = self.config.init.start(e, positions, noise)
            if carry is not None and keep is not None:
                z = torch.lerp(z, carry.to(z.dtype), keep[..., None].to(z.dtype))
        else:
            z = carry.to(e.dtype)

        bodies = self.bodies.ready(plan.deepest)
        present = _AtHand(e, self._looped(context, plan))
        exact = inputs.cache is not None and plan.halting.adaptive and plan.halting.kv == "exact"

        def step(z: Tensor, i: int, active: Active | None) -> Tensor:
            body = bodies[0 if self.config.tied else i]
            if exact:
                self._catch_up(body, context, i, None if active is None else active.rows)
            return body(z, *present.of(active), i)

        def look(z: Tensor, active: Active | None) -> Distribution:
            assert read is not None
            return read(self._finish_some(z, context, active))

        absent = None if inputs.attend.padding is None else ~inputs.attend.padding
        result = iterate(
            step, z, plan, read=None if read is None else look, tap=tap, absent=absent, packs=True
        )
        readouts = [self.finish(state, context) for state in result.states or [result.z]]
        if inputs.cache is not None:
            if exact:  # a row is computed as long as one of its units goes on
                loops = result.depth.amax(1, keepdim=True).expand_as(result.depth).clone()
                positions = self._positions(inputs).expand_as(loops)
                inputs.cache.halt(Halted(result.z, e, positions, loops))
            elif plan.halting.adaptive and plan.halting.kv == "copy":
                inputs.cache.settle(result.depth)
            inputs.cache.commit(inputs.x.shape[1], inputs.attend.padding)
        return CoreOutput(readouts, result)

    def _begin(self, cache: KVCache, plan: LoopPlan) -> None:
        first, kv = self.config.num_prelude, plan.halting.kv
        if kv == "exact" and not plan.halting.adaptive:  # every unit runs every loop
            kv = "copy"
        looped = range(first, first + self.config.num_loop)
        cache.begin(looped, plan.deepest if kv in ("copy", "exact") else 1, kv)

    def _catch_up(self, body: Loop, context: Context, i: int, rows: Tensor | None) -> None:
        """Have units of the past, which halted sooner, read in loop `i` as they halted."""
        cache = context.cache
        assert cache is not None
        behind = cache.behind(i, rows)
        if behind is None:
            return
        halted, config = cache.halted, self.config
        z, e, positions = (x[behind][None] for x in (halted.z, halted.e, halted.positions))
        angles = rotary_angles(positions, config.width // config.num_heads, config.rotary_base)
        cos, sin = (angle.to(context.cos.dtype) for angle in angles)
        present = None if isinstance(cache.past, int) else cache.past
        body(z, e, context.past(*behind, cos, sin, present), i)

    def _looped(self, context: Context, plan: LoopPlan) -> Context:
        """What looped layers read."""
        kv = plan.halting.kv
        splits = plan.halting.splits_rows and context.cos.shape[2] > 1
        stay = (
            kv == "last" and plan.halting.lingers
        )  # or a loop without effect would overwrite them
        own = OwnKeys() if splits or stay or kv == "first" else None
        return replace(context, own=own, kv=kv)

    def finish(self, z: Tensor, context: Context) -> Tensor:
        """The readout of a state, of whole rows."""
        return self.output_norm(self.coda(self.state_norm(z), context))

    def _finish_some(self, z: Tensor, context: Context, active: Active | None) -> Tensor:
        """The readouts of the units at hand."""
        if active is None or active.units is None:
            return self.finish(z, context.take(active))
        if not self.config.num_coda:  # every unit by itself
            return self.output_norm(self.state_norm(z))
        assert active.whole is not None
        rows, local = torch.unique_consecutive(active.rows, return_inverse=True)
        read = self.finish(active.whole(z), context.take(Active(rows)))
        return read[local, active.units][None]

    def loop(self, inputs: CoreInput, i: int = 0) -> Callable[[Tensor], Tensor]:
        """Loop `i` for these inputs, as a function of the state alone: for measuring, outside of `forward`.

        Raises:
            ValueError: input of another width or with a cache, which a loop would write to.
        """
        self._check(inputs, None, None)
        if inputs.cache is not None:
            raise ValueError("a single loop cannot use a cache: pass all units of the rows at once")
        e, context = self._read(inputs)
        body = self.bodies.ready(i + 1)[0 if self.config.tied else i]
        return lambda z: body(z, e, context, 0)

    @property
    def certified_gain(self) -> float | None:
        """A proven bound of how much a loop may stretch the difference of two states of a row.

        That is a Lipschitz constant of `z -> f(z, e)` in the Euclidean norm over all tokens of a row,
        for the weights as they are; below one the loop contracts. None where nothing is proven, which
        does not mean that it does not contract: `loopverse.depth.largest_gain` measures.
        """
        return self.bodies.certified_gain()

    def _read(self, inputs: CoreInput) -> tuple[Tensor, Context]:
        """What every loop reads: the prelude's output, and what layers share."""
        x = in_autocast(inputs.x)
        context = self._context(inputs, x.dtype)
        return self.prelude_norm(self.prelude(x, context)), context

    def _context(self, inputs: CoreInput, dtype: torch.dtype) -> Context:
        head_width = self.config.width // self.config.num_heads
        cos, sin = rotary_angles(self._positions(inputs), head_width, self.config.rotary_base)
        past = inputs.cache.past if inputs.cache is not None else 0
        mask = inputs.attend.mask(inputs.x.shape[1], past, inputs.x.device)
        cos, sin = cos.to(dtype), sin.to(dtype)
        return Context(cos, sin, inputs.attend.causal, mask, inputs.cond, inputs.cache)

    def _positions(self, inputs: CoreInput) -> Int[Tensor, "#b t"]:
        if inputs.positions is not None:
            return inputs.positions
        past = 0 if inputs.cache is None else inputs.cache.past
        start = past if isinstance(past, int) else past.sum(dim=1, keepdim=True)
        if inputs.attend.padding is None:
            return start + torch.arange(inputs.x.shape[1], device=inputs.x.device)[None]
        return start + (inputs.attend.padding.long().cumsum(dim=1) - 1).clamp(min=0)

    def _check(self, inputs: CoreInput, carry: Tensor | None, keep: Tensor | None) -> None:
        width = self.config.width
        if inputs.x.ndim != 3 or inputs.x.shape[2] != width:
            raise ValueError(
                f"embed must return x of shape [batch, time, {width}], got {list(inputs.x.shape)}"
            )
        if self.config.conditioned != (inputs.cond is not None):
            expected, got = ("a", "none") if self.config.conditioned else ("no", "one")
            raise ValueError(
                f"this core expects {expected} condition per row, got {got}: set core.conditioned to "
                "match what the domain's embed returns as cond"
            )
        batch, length, _ = inputs.x.shape
        certified = self.config.injection.certified_tokens
        total = length + (inputs.cache.length if inputs.cache is not None else 0)
        if inputs.places is not None:
            total = inputs.places.reach
        if certified is not None and total > certified:
            raise ValueError(
                f"the loop is certified to contract for rows of up to {certified} tokens, got {total}: "
                f"set core.injection.tokens={total} or more, and train with it"
            )
        if inputs.places is not None and carry is not None:
            raise ValueError("a unit in a place starts anew: pass no carried state")
        if keep is not None and carry is None:
            raise ValueError("keep says how much of a carried state to start from: pass carry too")
        for name, tensor, expected in (
            ("attend.padding", inputs.attend.padding, [batch, length]),
            ("attend.segments", inputs.attend.segments, [batch, length]),
            ("positions", inputs.positions, [batch, length]),
            ("cond", inputs.cond, [batch, width]),
            ("carry", carry, [batch, length, width]),
            ("keep", keep, [batch, length]),
        ):
            if tensor is not None and list(tensor.shape) != expected:
                raise ValueError(
                    f"{name} must have the shape {expected} beside x of shape "
                    f"{list(inputs.x.shape)}, got {list(tensor.shape)}"
                )

    def _check_plan(self, plan: LoopPlan) -> None:
        recorded = torch.is_grad_enabled()
        gradient = type(plan.gradient).__name__
        if recorded and not (self.config.injection.reads_input or plan.gradient.reaches_every_loop):
            raise ValueError(
                f"gradient {gradient} does not reach the initial state, the only way in for the input "
                "of a core without injection: what embeds it would never learn; use gradient=full or "
                "gradient=checkpointed, or another core.injection"
            )
        if self.config.tied:
            return
        if plan.deepest > self.config.loops:
            raise ValueError(
                f"an untied core of {self.config.loops} loops cannot run {plan.deepest}: "
                "ask for fewer, or train with core.tied=true"
            )
        if isinstance(plan.depth, Tensor):
            raise ValueError(
                "an untied core needs the same depth for all sequences: "
                "use schedule=constant, or core.tied=true"
            )
        if recorded and plan.gradient.repeats_the_loop:
            raise ValueError(
                f"gradient {gradient} repeats one loop until it settles and an untied core has no "
                "such loop: use gradient=full, or core.tied=true"
            )


class _AtHand:
    """The input and the context of the units at hand."""

    def __init__(self, e: Tensor, context: Context) -> None:
        self._whole = self._part = e, context
        self._active: Active | None = None

    def of(self, active: Active | None) -> tuple[Tensor, Context]:
        if active is None:
            return self._whole
        if active is not self._active or torch.is_grad_enabled():  # a loop may be recomputed
            e, context = self._whole
            if active.units is None:
                part = e.index_select(0, active.rows)
            else:
                part = e[active.rows, active.units][None]
            self._active, self._part = active, (part, context.take(active))
        return self._part

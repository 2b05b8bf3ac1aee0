"""What every halting rule must keep, whatever it looks at."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from loopverse.depth import Halting, LoopPlan, LoopResult, Step, iterate
from loopverse.depth.halting import Active
from loopverse.testing.failure import NothingToCheck, expect
from loopverse.testing.strategies import StrategyCheck, check_all, checks_in, strategy_check

WIDTH, DEPTH, VALUES = 16, 8, 5


@dataclass
class Scene:
    """A loop in which every unit comes to rest at a speed of its own, and predicts something on the way.

    Attributes:
        rule: the rule that is checked.
        dtype: of the states.
        rows: of the batch.
        units: of a row.
    """

    rule: Halting
    dtype: torch.dtype = torch.float32
    rows: int = 3
    units: int = 6
    head: nn.Module | None = field(init=False)

    def __post_init__(self) -> None:
        rng = torch.Generator().manual_seed(1)
        shape = (self.rows, self.units)
        self.speed = torch.linspace(0.05, 0.9, self.rows * self.units).view(*shape, 1)
        self.goal = torch.randn(*shape, WIDTH, generator=rng)
        self.reader = 3 * torch.randn(WIDTH, VALUES, generator=rng)
        self.head = self.rule.head(WIDTH)
        if self.head is not None:
            for parameter in self.head.parameters():
                parameter.requires_grad_(False).copy_(torch.randn(parameter.shape, generator=rng))
            self.head.to(self.dtype)

    def step(self, z: Tensor, i: int, active: Active | None) -> Tensor:
        """One loop, of the units at hand."""
        speed, goal = self.speed, self.goal
        if active is not None:
            if active.units is not None:
                speed, goal = (x[active.rows, active.units][None] for x in (speed, goal))
            else:
                speed, goal = speed[active.rows], goal[active.rows]
        return (speed * z.float() + (1 - speed) * goal).to(self.dtype)

    def read(self, z: Tensor, active: Active | None = None) -> Categorical:
        """What a state predicts."""
        return Categorical(logits=z.float() @ self.reader)

    @torch.no_grad()
    def run(self, keep: Tensor | None = None) -> LoopResult:
        """Let the loop run under the rule; `keep`: only these rows."""
        whole = self.speed, self.goal
        if keep is not None:
            self.speed, self.goal = self.speed[keep], self.goal[keep]
        try:
            z = torch.zeros(self.goal.shape, dtype=self.dtype)
            plan = LoopPlan(DEPTH, halting=self.rule, head=self.head)
            return iterate(self.step, z, plan, read=self.read)
        finally:
            self.speed, self.goal = whole

    @torch.no_grad()
    def states(self) -> list[Tensor]:
        """The state before the first loop and after each, if nobody stops; damped as the rule wants it."""
        states = [torch.zeros(self.goal.shape, dtype=self.dtype)]
        iterate(self._noting(states), states[0], LoopPlan(DEPTH))
        return states

    def _noting(self, states: list[Tensor]) -> Step:
        share = self.rule.damping

        def one_loop(z: Tensor, i: int, active: Active | None) -> Tensor:
            after = self.step(z, i, active)
            states.append(after if not share else torch.lerp(after, z, share))
            return states[-1]

        return one_loop


def _adaptive(rule: Halting) -> None:
    if not rule.adaptive:
        raise NothingToCheck


@strategy_check()
def it_says_that_it_decides(rule: Halting) -> None:
    """A rule whose `update` decides says so with `adaptive`, or it is never asked."""
    own = type(rule).update is not Halting.update
    expect(
        rule.adaptive == own,
        f"adaptive to be {own}",
        f"{rule.adaptive}",
        "set `adaptive: ClassVar[bool] = True` where there is an `update`, and only there",
    )


@strategy_check()
def decisions_are_booleans_of_the_units(rule: Halting) -> None:
    """`update` returns its memory and a boolean tensor `[n t]`, true where a unit stops."""
    _adaptive(rule)
    scene = Scene(rule)
    states = scene.states()
    memory, stops = rule.update(
        rule.begin(states[0]), states[0], states[1], 0, scene.read, scene.head
    )
    got = f"{stops.dtype} {list(stops.shape)}" if isinstance(stops, Tensor) else f"{stops!r}"
    expect(
        isinstance(stops, Tensor)
        and stops.dtype == torch.bool
        and stops.shape == states[0].shape[:2],
        f"torch.bool {list(states[0].shape[:2])}",
        got,
        "compare a number of each unit with a threshold",
    )
    wrong = [name for name, kept in memory.items() if kept.shape[:2] != states[0].shape[:2]]
    expect(
        not wrong,
        "memory whose first two axes are the units, which lose the same entries as they",
        f"{', '.join(wrong)} of another shape",
        "keep a number for each unit, or nothing",
    )


@strategy_check(decisions_are_booleans_of_the_units)
def it_needs_what_it_says(rule: Halting) -> None:
    """A rule that looks at predictions says so with `reads`; any other works without them."""
    _adaptive(rule)
    scene = Scene(rule)
    states = scene.states()
    asked = []

    def read(z: Tensor) -> Categorical:
        asked.append(z)
        return scene.read(z)

    memory = rule.begin(states[0])
    for i in range(DEPTH):
        memory, _ = rule.update(memory, states[i], states[i + 1], i, read, scene.head)
    expect(
        bool(asked) == rule.reads,
        f"reads to be {bool(asked)}",
        f"{rule.reads}",
        "set `reads: ClassVar[bool] = True` where `update` calls `read`, and only there",
    )


@strategy_check(decisions_are_booleans_of_the_units)
def it_writes_on_nothing(rule: Halting) -> None:
    """States and memory that are handed over stay as they are: others look at them too."""
    _adaptive(rule)
    scene = Scene(rule)
    states = scene.states()
    memory = rule.begin(states[0].clone())
    for i in range(DEPTH):
        before, after = states[i].clone(), states[i + 1].clone()
        kept = {name: value.clone() for name, value in memory.items()}
        new, _ = rule.update(memory, before, after, i, scene.read, scene.head)
        same = torch.equal(before, states[i]) and torch.equal(after, states[i + 1])
        same = same and all(torch.equal(memory[name], kept[name]) for name in kept)
        expect(
            same, "untouched arguments", "a tensor that was written to", "use no methods with `_`"
        )
        memory = new


@strategy_check(decisions_are_booleans_of_the_units, it_writes_on_nothing)
def it_decides_the_same_every_time(rule: Halting) -> None:
    """The same states are stopped after as many loops, whatever ran before."""
    _adaptive(rule)
    scene = Scene(rule)
    first = scene.run().depth
    Scene(rule, rows=2, units=3).run()
    expect(
        torch.equal(first, scene.run().depth),
        "as many loops the second time",
        "others",
        "a rule holds settings, never what it saw: that belongs into the memory",
    )


@strategy_check(it_decides_the_same_every_time)
def a_row_alone_is_decided_as_in_a_batch(rule: Halting) -> None:
    """What other rows are does not matter: batched equals solo."""
    _adaptive(rule)
    scene = Scene(rule)
    together = scene.run().depth
    for row in range(scene.rows):
        alone = scene.run(torch.tensor([row])).depth
        expect(
            torch.equal(alone[0], together[row]),
            f"{together[row].tolist()} loops for row {row}, as in a batch",
            f"{alone[0].tolist()}",
            "take no mean over rows",
        )


@strategy_check(a_row_alone_is_decided_as_in_a_batch)
def a_unit_alone_is_decided_as_in_its_row(rule: Halting) -> None:
    """Where units stop independently (`per_unit`), the others of the row do not matter."""
    _adaptive(rule)
    if not rule.per_unit or rule.competes:
        raise NothingToCheck
    scene = Scene(rule)
    states = scene.states()
    few = torch.tensor([scene.units - 1])  # the slowest one
    memories = rule.begin(states[0]), rule.begin(states[0][:, few])
    for i in range(DEPTH):
        pairs = (states[i], states[i + 1]), (states[i][:, few], states[i + 1][:, few])
        (whole, stops), (part, some) = (
            rule.update(memory, *pair, i, scene.read, scene.head)
            for memory, pair in zip(memories, pairs, strict=True)
        )
        expect(
            torch.equal(stops[:, few], some),
            "the same decision of units that are shown alone",
            f"another one after loop {i + 1}",
            "take no mean over the units of a row, or say `per_unit: ClassVar[bool] = False`",
        )
        memories = whole, part


@strategy_check(it_decides_the_same_every_time)
def a_unit_that_stopped_never_changes_again(rule: Halting) -> None:
    """The state of a unit is the one after its last loop, damped alike in all."""
    _adaptive(rule)
    scene = Scene(rule)
    result, states = scene.run(), torch.stack(scene.states())
    depth = result.depth
    expect(
        bool(((depth >= 1) & (depth <= DEPTH)).all()),
        f"1 to {DEPTH} loops",
        f"{depth.unique().tolist()}",
        "a rule decides after a loop, never before",
    )
    rows, units = torch.meshgrid(*map(torch.arange, depth.shape), indexing="ij")
    kept = states[depth, rows, units]
    if rule.per_unit and not rule.competes:
        expect(
            torch.allclose(result.z, kept, atol=1e-5),
            "the state after its last loop",
            "another one",
            "`update` decides and changes no state, and `damping` is the same in all loops",
        )


@strategy_check(it_decides_the_same_every_time)
def the_knob_turns_the_way_it_says(rule: Halting) -> None:
    """Towards `sooner` the knob stops no unit later, so that calibration can bisect it."""
    _adaptive(rule)
    if rule.knob is None:
        raise NothingToCheck
    means = []
    value = rule.knob_value
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
        try:
            turned = rule.with_knob(value * factor)
        except ValueError:  # a value that it cannot have
            continue
        means.append(float(Scene(turned).run().depth.float().mean()))
    order = means if rule.knob.sooner == "higher" else means[::-1]
    expect(
        order == sorted(order, reverse=True),
        f"no more loops towards {rule.knob.sooner}",
        f"{[round(mean, 2) for mean in means]} loops as it rises",
        f"turn `sooner` round, or hold the signal against halting.{rule.knob.setting} the other way",
    )


@strategy_check(decisions_are_booleans_of_the_units)
def half_precision_is_read_too(rule: Halting) -> None:
    """States may be bfloat16."""
    _adaptive(rule)
    depth = Scene(rule, dtype=torch.bfloat16).run().depth
    expect(depth.dtype == torch.long, "a number of loops", f"{depth.dtype}", "compute in float32")


def halting_checks() -> list[StrategyCheck[Halting]]:
    """Every check of a halting rule."""
    return checks_in(globals())


def check_halting(rule: Halting) -> None:
    """Check a halting rule, an instance, with settings that stop some units early and others late.

    Raises:
        StrategyError: at least one check failed; its message lists them.
    """
    check_all(halting_checks(), rule)

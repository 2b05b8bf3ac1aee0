"""What every way to differentiate through loops must keep."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn

from loopverse.depth import Active, FixedPoint, Full, LoopGradient, LoopPlan, LoopResult, iterate
from loopverse.testing.failure import NothingToCheck, expect
from loopverse.testing.strategies import StrategyCheck, check_all, checks_in, strategy_check

WIDTH, DEPTH = 6, 24


class Contraction(nn.Module):
    """A loop that comes to rest: `z <- tanh(W z) / 2 + V x`, for a fixed input."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(1)
        self.recur = nn.Parameter(torch.randn(WIDTH, WIDTH, generator=rng) / WIDTH**0.5)
        self.inject = nn.Parameter(torch.randn(WIDTH, WIDTH, generator=rng))
        self.x = torch.randn(2, 3, WIDTH, generator=rng)
        self.goal = torch.randn(2, 3, WIDTH, generator=rng)

    def forward(self, z: Tensor, i: int = 0, active: Active | None = None) -> Tensor:
        """One loop, of the rows at hand."""
        x = self.x if active is None else self.x[active.rows]
        return torch.tanh(z @ self.recur) / 2 + x @ self.inject

    def run(self, plan: LoopPlan) -> LoopResult:
        """Let it run from nothing."""
        return iterate(self, torch.zeros_like(self.x), plan)

    def gradient(self, gradient: LoopGradient, depth: int = DEPTH) -> Tensor:
        """Of the squared distance to a goal, for all weights, as one vector."""
        self.zero_grad()
        z = self.run(LoopPlan(depth, gradient=gradient)).z
        (z - self.goal).square().mean().backward()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters()]
        return torch.cat([part.flatten() for part in parts])


@strategy_check()
def segments_are_all_loops_in_order(gradient: LoopGradient) -> None:
    """The segments, one after the other, are all loops, each once."""
    for depth in (1, 2, 5, 9, 16):
        loops = list(chain.from_iterable(gradient.segments(depth)))
        expect(
            loops == list(range(depth)),
            f"loops 0 to {depth - 1}, each once",
            f"{loops}",
            "split range(depth) and leave nothing out",
        )


@strategy_check(segments_are_all_loops_in_order)
def the_state_is_that_of_the_plain_loop(gradient: LoopGradient) -> None:
    """Recording changes nothing: the same bits as without, or, where the loop is repeated, its fixed point."""
    loop = Contraction()
    with torch.no_grad():
        plain = loop.run(LoopPlan(DEPTH)).z
    recorded = loop.run(LoopPlan(DEPTH, gradient=gradient)).z
    apart = float((recorded.detach() - plain).abs().max())
    near = 1e-3 if gradient.repeats_the_loop else 0.0
    expect(
        apart <= near,
        f"a state at most {near:g} away",
        f"{apart:.3g}",
        "`run` and `attach` return the state, and detach it only for the gradient; a strategy that applies the loop "
        "again says `repeats_the_loop`",
    )


@strategy_check(segments_are_all_loops_in_order)
def every_weight_gets_a_gradient(gradient: LoopGradient) -> None:
    """The gradient of every weight is finite and not zero."""
    loop = Contraction()
    loop.gradient(gradient)
    for name, parameter in loop.named_parameters():
        grad = parameter.grad
        expect(
            grad is not None and bool(grad.isfinite().all()) and bool((grad != 0).any()),
            f"a gradient of {name}",
            "none" if grad is None else "zeros, or numbers that are not finite",
            "record at least one application of the step",
        )


@strategy_check(every_weight_gets_a_gradient)
def it_leads_downhill(gradient: LoopGradient) -> None:
    """Where the loop has come to rest, the gradient has a positive cosine with the full one."""
    loop = Contraction()
    full, ours = loop.gradient(Full()).clone(), loop.gradient(gradient)
    cosine = float(torch.cosine_similarity(full, ours, dim=0))
    expect(
        cosine > 0.5, "a cosine above 0.5", f"{cosine:.3f}", "look for a sign, or a detached state"
    )


@strategy_check(every_weight_gets_a_gradient)
def the_same_gradient_every_time(gradient: LoopGradient) -> None:
    """A strategy keeps nothing from one step to the next."""
    loop = Contraction()
    first = loop.gradient(gradient).clone()
    Contraction().gradient(gradient, 5)
    expect(
        torch.equal(first, loop.gradient(gradient)),
        "the same gradient",
        "another one",
        "a strategy holds settings, never tensors",
    )


@strategy_check(every_weight_gets_a_gradient)
def early_losses_are_reached_if_it_says_so(gradient: LoopGradient) -> None:
    """With `reaches_every_loop`, a loss on the state after any loop has a gradient."""
    if not gradient.reaches_every_loop:
        raise NothingToCheck
    loop = Contraction()
    states = loop.run(LoopPlan(DEPTH, gradient=gradient, keep_states=True)).states
    assert states is not None
    for number, state in enumerate(states, 1):
        expect(
            state.requires_grad,
            f"a recorded state after loop {number}",
            "one that has no gradient",
            "say `reaches_every_loop: ClassVar[bool] = False`",
        )


@strategy_check(every_weight_gets_a_gradient)
def it_bears_rules_to_stop_early_if_it_says_so(gradient: LoopGradient) -> None:
    """With `follows_halting`, a loop that ends early has a gradient too."""
    if not gradient.follows_halting:
        raise NothingToCheck
    loop = Contraction()
    rule = FixedPoint(tolerance=0.05, per="sequence", kv="exact")
    result = loop.run(LoopPlan(DEPTH, gradient=gradient, halting=rule))
    if result.z.requires_grad:
        result.z.square().mean().backward()
    for name, parameter in loop.named_parameters():
        expect(
            parameter.grad is not None and bool((parameter.grad != 0).any()),
            f"a gradient of {name} where the loop ended early",
            "none",
            "say `follows_halting: ClassVar[bool] = False`, or attach the gradient outside of the halting",
        )


def gradient_checks() -> list[StrategyCheck[LoopGradient]]:
    """Every check of a way to differentiate."""
    return checks_in(globals())


def check_gradient(gradient: LoopGradient) -> None:
    """Check a way to differentiate, an instance.

    Raises:
        StrategyError: at least one check failed; its message lists them.
    """
    check_all(gradient_checks(), gradient)

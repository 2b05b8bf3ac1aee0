"""Each published core equals its equation, written out by hand; its layers, the slow way."""

from functools import partial

import pytest
import torch
from cores import PRESETS, small_core
from reference import rms, stack
from torch import Tensor

from loopverse.depth import LoopPlan
from loopverse.nn import Attend, CoreInput, FreshNoise, PositionNoise, RecurrentCore
from loopverse.training.compose import compose

ATTEND = Attend(True, torch.tensor([[False, True, True, True], [True] * 4]))
POSITIONS = torch.tensor([[0, 0, 1, 2], [0, 1, 2, 3]])
LOOPS = 3


def noise(core: RecurrentCore) -> Tensor:
    """The initial state of the presets that start with noise."""
    like = torch.empty(2, 4, core.config.width)
    return (2 / (5 * core.config.width)) ** 0.5 * PositionNoise(3).draw(like, POSITIONS, True)


def plain(core: RecurrentCore, x: Tensor) -> Tensor:
    """`z <- f(z + e)`."""
    e = stack(core.prelude.blocks, x, ATTEND)
    z = torch.zeros_like(e)
    for _ in range(LOOPS):
        z = stack(core.bodies[0].layers.blocks, z + e, ATTEND)
    return rms(stack(core.coda.blocks, z, ATTEND), core.output_norm.weight)


def huginn(core: RecurrentCore, x: Tensor) -> Tensor:
    """`z <- f(W [z; e])`, norms on the sums, one norm after the loop and one at the end."""
    layers = partial(stack, attend=ATTEND, norms="sandwich_sum", base=50_000.0)
    e = layers(core.prelude.blocks, x)
    z = noise(core)
    for _ in range(LOOPS):
        read = torch.cat([z, e], dim=-1) @ core.bodies[0].injection.linear.weight.T
        z = layers(core.bodies[0].layers.blocks, read)
    return rms(layers(core.coda.blocks, rms(z, core.state_norm.weight)), core.output_norm.weight)


def retained(core: RecurrentCore, z: Tensor, e: Tensor) -> Tensor:
    """`exp(-Delta exp(a)) z + Delta B e`, `Delta = softplus(delta)`."""
    p = core.bodies[0].injection
    step = torch.log1p(torch.exp(p.delta))
    return torch.exp(-step * torch.exp(p.a)) * z + step * (e @ p.b.T)


def parcae(core: RecurrentCore, x: Tensor) -> Tensor:
    """`z <- f(Abar z + Bbar e)`, `e` normalised."""
    e = rms(stack(core.prelude.blocks, x, ATTEND), core.prelude_norm.weight)
    z = noise(core)
    for _ in range(LOOPS):
        z = stack(core.bodies[0].layers.blocks, retained(core, z, e), ATTEND)
    return rms(stack(core.coda.blocks, z, ATTEND), core.output_norm.weight)


def ouro(core: RecurrentCore, x: Tensor) -> Tensor:
    """`z <- norm(f(z))`, sandwich norms, from the embedding, nothing before or after."""
    z = x
    for _ in range(LOOPS):
        z = stack(core.bodies[0].layers.blocks, z, ATTEND, norms="sandwich")
        z = rms(z, core.bodies[0].norm.weight)
    return z


def loopmdm(core: RecurrentCore, x: Tensor) -> Tensor:
    """`z <- f(z)` from the prelude's output."""
    z = stack(core.prelude.blocks, x, ATTEND)
    for _ in range(LOOPS):
        z = stack(core.bodies[0].layers.blocks, z, ATTEND)
    return rms(stack(core.coda.blocks, z, ATTEND), core.output_norm.weight)


def loopwm(core: RecurrentCore, x: Tensor) -> Tensor:
    """`z <- Abar z + Bbar e + R(z, e)`, `R` the branches of a block that reads `z + e`."""
    e = rms(stack(core.prelude.blocks, x, ATTEND), core.prelude_norm.weight)
    z = noise(core)
    for _ in range(LOOPS):
        branches = stack(core.bodies[0].layers.blocks, z + e, ATTEND) - (z + e)
        z = retained(core, z, e) + branches
    return rms(stack(core.coda.blocks, z, ATTEND), core.output_norm.weight)


def fprm(core: RecurrentCore, x: Tensor) -> Tensor:
    """`h_0 = a2 z + b2 x`, `h <- a1 h + b1 g(norm(h))`."""
    p = core.bodies[0].injection
    a1, a2 = 1 / (1 + torch.exp(-p.stream)), 1 / (1 + torch.exp(-p.state))
    through = a1 ** (2 * core.config.num_loop)
    b2 = 1 - a2 * through
    b1 = b2 * (1 - a1) / (1 - through)
    z = noise(core)
    for _ in range(LOOPS):
        blocks = core.bodies[0].layers.blocks
        z = stack(blocks, a2 * z + b2 * x, ATTEND, join=lambda h, g: a1 * h + b1 * g)
    return rms(z, core.output_norm.weight)


EQUATIONS = {f.__name__: f for f in (plain, huginn, parcae, ouro, loopmdm, loopwm, fprm)}
EQUATIONS["loopmdm_short"] = loopmdm


def test_every_preset_has_its_equation_here() -> None:
    assert set(PRESETS) == set(EQUATIONS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_equals_its_equation(name: str) -> None:
    core = small_core(name)
    x = torch.randn(2, 4, core.config.width)
    inputs = CoreInput(x, ATTEND, POSITIONS)
    with torch.no_grad():
        ours = core(inputs, LoopPlan(LOOPS), PositionNoise(3)).readouts[-1]
        by_hand = EQUATIONS[name](core, x)
    torch.testing.assert_close(ours, by_hand, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_learns_with_the_strategies_it_names(name: str) -> None:
    """A few steps of regression on one batch, every depth drawn as in training."""
    narrow = ["core.width=16", "core.num_heads=4", "core.num_loop=2", "core.loops=3"]
    config = compose([f"core={name}", *narrow])
    torch.manual_seed(0)
    core, head = RecurrentCore(config.core), config.halting.head(16)
    weights = [*core.parameters(), *(head.parameters() if head else [])]
    optimizer = torch.optim.Adam(weights, lr=3e-3)
    x, target = torch.randn(2, 4, 4, 16)
    rng = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(12):
        plan = LoopPlan(
            config.schedule.draw(4, rng=rng),
            gradient=config.gradient,
            keep_states=config.objective.every_loop,
        )
        output = core(CoreInput(x, Attend()), plan, FreshNoise(rng))
        found = torch.stack([(z - target).square().mean(-1) for z in output.readouts])
        share, extra = config.objective.weights(output.result.states or [], head)
        loss = (found[-1] if share is None else (found * share).sum(0)).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        (loss if extra is None else loss + extra.mean()).backward()
        assert all(p.grad is not None and p.grad.any() for p in weights)
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]

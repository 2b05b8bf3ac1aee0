"""What every injection must keep."""

from __future__ import annotations

import torch
from torch import Tensor

from loopverse.depth import Active, LoopPlan, iterate
from loopverse.nn.injection import Inject, Injection
from loopverse.testing.failure import expect
from loopverse.testing.strategies import StrategyCheck, check_all, checks_in, strategy_check

WIDTH, LAYERS, LOOPS = 16, 2, 64


def _block(module: Inject, z: Tensor, e: Tensor) -> Tensor:
    """One loop around branches that are bounded, as those of a trained block are."""
    h = module.read(z, e)
    h = module.residual(h, torch.tanh(h.roll(1, dims=-1)) / 2)
    h = module.residual(h, torch.tanh(h.roll(2, dims=-1)) / 2)
    return module.write(z, e, h)


def _tensors(rows: int = 2, units: int = 3) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    z, e = torch.randn(2, rows, units, WIDTH, generator=rng)
    return z, e


@strategy_check()
def it_keeps_the_shape_and_the_type(injection: Injection) -> None:
    """What the block reads and the next state have the shape of the state, in float32 and bfloat16."""
    for dtype in (torch.float32, torch.bfloat16):
        module = injection.build(WIDTH, LAYERS).to(dtype)
        z, e = (x.to(dtype) for x in _tensors())
        h = module.read(z, e)
        for name, out in (
            ("read", h),
            ("residual", module.residual(h, h)),
            ("write", module.write(z, e, h)),
        ):
            expect(
                out.shape == z.shape and out.dtype == dtype,
                f"{dtype} {list(z.shape)} from {name}",
                f"{out.dtype} {list(out.shape)}",
                "keep [b t d], and let parameters follow the type of the module",
            )


@strategy_check(it_keeps_the_shape_and_the_type)
def it_draws_nothing(injection: Injection) -> None:
    """The same state and input give the same next state."""
    module = injection.build(WIDTH, LAYERS)
    z, e = _tensors()
    first = _block(module, z, e)
    torch.rand(7)
    expect(
        torch.equal(first, _block(module, z, e)),
        "the same next state",
        "another one",
        "random numbers belong into `prepare` of the domain",
    )


@strategy_check(it_draws_nothing)
def units_do_not_read_each_other(injection: Injection) -> None:
    """Another unit's state and input change nothing: reading is what attention is for."""
    module = injection.build(WIDTH, LAYERS).eval()
    z, e = _tensors()
    before = _block(module, z, e)
    others = torch.ones(2, 3, 1)
    others[0, 1] = 0
    after = _block(module, z + others, e + others)
    expect(
        torch.allclose(before[0, 1], after[0, 1], atol=1e-6),
        "the same next state of a unit",
        "one that follows from others",
        "take no mean over units or rows; a causal model would see what comes later",
    )


@strategy_check(it_draws_nothing)
def it_reads_the_input_if_it_says_so(injection: Injection) -> None:
    """With `reads_input` every loop follows from the input, without it none does."""
    module = injection.build(WIDTH, LAYERS)
    z, e = _tensors()
    reads = not torch.equal(_block(module, z, e), _block(module, z, e + 1))
    expect(
        reads == injection.reads_input,
        f"reads_input to be {reads}",
        f"{injection.reads_input}",
        "set `reads_input: ClassVar[bool]`: gradients are chosen by it",
    )


@strategy_check(it_draws_nothing)
def the_state_is_not_forgotten(injection: Injection) -> None:
    """The next state follows from the state: else a loop is done after one."""
    module = injection.build(WIDTH, LAYERS)
    z, e = _tensors()
    apart = float((_block(module, z, e) - _block(module, z + 1, e)).detach().abs().max())
    expect(apart > 0, "a next state that follows from the state", "one that does not", "read z too")


@strategy_check(it_keeps_the_shape_and_the_type)
def every_parameter_learns(injection: Injection) -> None:
    """Over a few loops every parameter gets a gradient that is finite and not zero."""
    module = injection.build(WIDTH, LAYERS)
    z, e = _tensors()
    state = _looped(module, z, e, 3)
    if state.requires_grad:
        state.square().mean().backward()
    for name, parameter in module.named_parameters():
        grad = parameter.grad
        expect(
            grad is not None and bool(grad.isfinite().all()) and bool((grad != 0).any()),
            f"a gradient of {name}",
            "none, zeros, or numbers that are not finite",
            "use it in read, residual or write, or leave it out",
        )


@strategy_check(it_keeps_the_shape_and_the_type)
@torch.no_grad()
def the_state_stays_finite(injection: Injection) -> None:
    """As it is first made, the state does not explode over many loops."""
    module = injection.build(WIDTH, LAYERS)
    z, e = _tensors()
    size = float(_looped(module, z, e, LOOPS).abs().max())
    expect(
        size < 1e3,
        f"a state below 1000 after {LOOPS} loops",
        f"{size:.3g}",
        "start with gains of at most one on the state",
    )


@strategy_check(it_draws_nothing)
def it_compiles(injection: Injection) -> None:
    """It is one graph for `torch.compile`."""
    module = injection.build(WIDTH, LAYERS)
    z, e = _tensors()

    def loop(z: Tensor, e: Tensor) -> Tensor:
        return _block(module, z, e)

    torch.compiler.reset()  # every injection is compiled anew here, and there is a limit to that
    compiled = torch.compile(loop, backend="eager", fullgraph=True)
    expect(
        torch.allclose(loop(z, e), compiled(z, e), atol=1e-5),
        "the same next state, compiled",
        "another one",
        "use no Python that follows from the numbers in a tensor",
    )


def _looped(module: Inject, z: Tensor, e: Tensor, loops: int) -> Tensor:
    def one_loop(z: Tensor, _: int, __: Active | None) -> Tensor:
        return _block(module, z, e)

    return iterate(one_loop, z, LoopPlan(loops)).z


def injection_checks() -> list[StrategyCheck[Injection]]:
    """Every check of an injection."""
    return checks_in(globals())


def check_injection(injection: Injection) -> None:
    """Check an injection, an instance of its settings.

    Raises:
        StrategyError: at least one check failed; its message lists them.
    """
    check_all(injection_checks(), injection)

"""Weights computed from parameters are computed once where that is asked for, and never stale."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from cores import BOUNDED, small_core
from torch import Tensor

from loopverse.depth import Checkpointed, Full, LoopGradient, LoopPlan, Truncated
from loopverse.nn import (
    Attend,
    ContractiveBlock,
    CoreInput,
    PositionNoise,
    RecurrentCore,
    reuse_weights,
)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ContractiveBlock]]:
    """The blocks whose matrices were rescaled, one entry each time."""
    found: list[ContractiveBlock] = []
    rescaled = ContractiveBlock.rescaled

    def counted(block: ContractiveBlock, *matrices: Tensor):
        found.append(block)
        return rescaled(block, *matrices)

    monkeypatch.setattr(ContractiveBlock, "rescaled", counted)
    return found


def think(
    core: RecurrentCore, x: Tensor, loops: int = 3, gradient: LoopGradient | None = None
) -> Tensor:
    plan = LoopPlan(loops, gradient=gradient or Full())
    return core(CoreInput(x, Attend()), plan, PositionNoise()).readouts[-1]


@pytest.mark.parametrize("gradient", [Full(), Truncated(2), Checkpointed()], ids=repr)
def test_a_call_rescales_once_however_many_loops_it_has(
    gradient: LoopGradient, computed: list[ContractiveBlock]
) -> None:
    core, x = small_core(BOUNDED), torch.randn(2, 4, 16)
    think(core, x, 7, gradient).sum().backward()
    assert len(computed) == core.config.num_loop
    assert len(set(computed)) == core.config.num_loop


def test_an_untied_core_rescales_the_loops_it_runs(computed: list[ContractiveBlock]) -> None:
    core, x = small_core(BOUNDED, tied=False, loops=4), torch.randn(2, 4, 16)
    think(core, x, 3)
    assert len(computed) == 3 * core.config.num_loop


def test_a_rollout_rescales_once_and_computes_what_it_computed_before(
    computed: list[ContractiveBlock],
) -> None:
    core, x = small_core(BOUNDED), torch.randn(2, 4, 16)
    results = []
    for context in (nullcontext(), reuse_weights()):
        with context, reuse_weights() if computed else nullcontext():  # nested, the second time
            before = len(computed)
            y = x
            for _ in range(4):
                y = think(core, y)
            results.append(torch.autograd.grad(y.sum(), list(core.parameters())))
            results.append(len(computed) - before)
    assert results[1::2] == [4 * core.config.num_loop, core.config.num_loop]
    for alone, together in zip(results[0], results[2], strict=True):
        torch.testing.assert_close(alone, together)


def test_outside_the_context_nothing_is_kept(computed: list[ContractiveBlock]) -> None:
    core, x = small_core(BOUNDED), torch.randn(2, 4, 16)
    for _ in range(2):
        with reuse_weights():
            think(core, x)
    think(core, x)
    assert len(computed) == 3 * core.config.num_loop


def test_a_changed_parameter_is_noticed() -> None:
    core, x = small_core(BOUNDED), torch.randn(2, 4, 16)
    with torch.no_grad(), reuse_weights():
        before = think(core, x)
        for parameter in core.bodies.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        after = think(core, x)
    assert not torch.equal(before, after)
    with torch.no_grad():
        assert torch.equal(after, think(core, x))


def test_weights_of_a_call_without_gradients_do_not_end_the_gradients_of_the_next() -> None:
    core, x = small_core(BOUNDED), torch.randn(2, 4, 16)
    with reuse_weights():
        for silence in (torch.no_grad(), torch.inference_mode()):
            with silence:
                quiet = think(core, x)
        heard = think(core, x)
        heard.sum().backward()
    assert torch.equal(quiet, heard)
    assert all(p.grad is not None for p in core.parameters())


def test_two_cores_do_not_share_their_weights() -> None:
    x = torch.randn(2, 4, 16)
    with torch.no_grad(), reuse_weights():
        ours, others = (think(small_core(BOUNDED, seed=seed), x) for seed in (0, 1))
    assert not torch.equal(ours, others)


def test_mixed_precision_rescales_in_the_precision_of_the_parameters() -> None:
    core, x = small_core(BOUNDED), torch.randn(2, 4, 16)
    layers = core.get_submodule("bodies.0.layers")
    exact = layers.rescaled()
    with reuse_weights(), torch.no_grad():
        whole = think(core, x)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = layers.rescaled()
            half = think(core, x)
        assert torch.equal(whole, think(core, x))
    for ours, others in zip(mixed, exact, strict=True):
        for matrix, original in zip(ours, others, strict=True):
            assert matrix.dtype == torch.bfloat16
            assert torch.equal(matrix, original.bfloat16())
    torch.testing.assert_close(half.float(), whole, atol=0.05, rtol=0.05)


def test_mixed_precision_trains_a_certified_loop() -> None:
    core, x = small_core(BOUNDED), torch.randn(2, 4, 16)
    with torch.autocast("cpu", torch.bfloat16):
        think(core, x, 3, Checkpointed()).float().square().mean().backward()
    silent = [name for name, p in core.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised within torch.compile
def test_a_compiled_core_with_a_certified_loop_computes_the_same() -> None:
    core, x = small_core(BOUNDED), torch.randn(2, 4, 16)
    plain = think(core, x)
    gradients = torch.autograd.grad(plain.sum(), list(core.parameters()))
    core.compile_blocks()
    compiled = think(core, x)
    torch.testing.assert_close(compiled, plain)
    found = torch.autograd.grad(compiled.sum(), list(core.parameters()))
    torch.testing.assert_close(found, gradients, atol=1e-5, rtol=1e-4)

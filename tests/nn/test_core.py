"""The recurrent core: what its settings promise, for every published core."""

from typing import Any

import pytest
import torch
from cores import CORES, preset, small_core, stir
from reference import rms, stack
from torch import Tensor

from loopverse.depth import (
    Checkpointed,
    FixedPoint,
    Full,
    Implicit,
    LoopGradient,
    LoopPlan,
    OneStep,
    Phantom,
    Truncated,
)
from loopverse.nn import (
    Attend,
    CoreInput,
    CoreOutput,
    Embed,
    FreshNoise,
    KVCache,
    PositionNoise,
    RecurrentCore,
)


def think(core: RecurrentCore, x: Tensor, plan: LoopPlan, **inputs: Any) -> CoreOutput:
    carry = inputs.pop("carry", None)
    attend = inputs.pop("attend", Attend())
    return core(CoreInput(x, attend, **inputs), plan, PositionNoise(), carry=carry)


def embedded(batch: int = 2, length: int = 5) -> Tensor:
    return torch.randn(batch, length, 16)


@pytest.mark.parametrize("name", CORES)
def test_an_untied_core_whose_bodies_are_alike_equals_the_tied_core(name: str) -> None:
    tied = small_core(name, loops=3)
    untied = RecurrentCore(preset(name, loops=3, tied=False))
    weights = tied.state_dict()
    for key, value in tied.bodies[0].state_dict().items():
        weights |= {f"bodies.{i}.{key}": value for i in range(3)}
    untied.load_state_dict(weights)
    x = embedded()
    for loops in (1, 2, 3):
        ours, others = (think(core, x, LoopPlan(loops)) for core in (untied, tied))
        assert torch.equal(ours.readouts[-1], others.readouts[-1])


def test_each_loop_of_an_untied_core_has_layers_of_its_own() -> None:
    core, x = small_core("plain", loops=3, tied=False), embedded()
    think(core, x, LoopPlan(2)).readouts[-1].sum().backward()
    touched = [any(p.grad is not None for p in body.parameters()) for body in core.bodies]
    assert touched == [True, True, False]


@pytest.mark.parametrize("loops", [1, 4])
def test_branches_of_the_loop_are_scaled_by_the_nominal_number_of_loops(loops: int) -> None:
    core, x = small_core("plain", loops=4, scale_branches=True), embedded()
    e = stack(core.prelude.blocks, x, Attend())
    z = torch.zeros_like(e)
    for _ in range(loops):
        z = stack(core.bodies[0].layers.blocks, z + e, Attend(), scale=1 / 4)
    expected = rms(stack(core.coda.blocks, z, Attend()), core.output_norm.weight)
    ours = think(core, x, LoopPlan(loops)).readouts[-1]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CORES)
def test_a_carried_state_goes_on_where_the_earlier_call_ended(name: str) -> None:
    core, x = small_core(name), embedded()
    whole = think(core, x, LoopPlan(5)).result.z
    half = think(core, x, LoopPlan(2)).result.z
    assert torch.equal(think(core, x, LoopPlan(3), carry=half).result.z, whole)


@pytest.mark.parametrize("name", CORES)
def test_readouts_of_every_loop_are_those_of_every_depth(name: str) -> None:
    core, x = small_core(name), embedded()
    readouts = think(core, x, LoopPlan(4, keep_states=True)).readouts
    assert len(readouts) == 4
    for loops, readout in enumerate(readouts, 1):
        assert torch.equal(readout, think(core, x, LoopPlan(loops)).readouts[-1])


@pytest.mark.parametrize("name", CORES)
def test_a_depth_per_sequence_gives_each_row_what_it_gets_alone(name: str) -> None:
    core, x, depths = small_core(name), embedded(4), torch.tensor([2, 5, 1, 2])
    present = torch.tensor([[True] * 5, [False] + [True] * 4, [True] * 5, [False] * 2 + [True] * 3])
    output = think(core, x, LoopPlan(depths), attend=Attend(True, present))
    assert torch.equal(output.result.depth, depths[:, None].expand(4, 5))
    for row, loops in enumerate(depths.tolist()):
        here = slice(row, row + 1)
        alone = think(core, x[here], LoopPlan(loops), attend=Attend(True, present[here]))
        torch.testing.assert_close(
            output.readouts[-1][here], alone.readouts[-1], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("name", CORES)
def test_documents_packed_in_a_row_are_read_as_if_alone(name: str) -> None:
    core, x = small_core(name), embedded(1, 7)
    segments = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3]])
    packed = think(
        core, x, LoopPlan(3), attend=Attend(segments=segments), positions=positions
    ).readouts[-1]
    for part in (slice(0, 3), slice(3, 7)):
        alone = think(core, x[:, part], LoopPlan(3)).readouts[-1]
        torch.testing.assert_close(packed[:, part], alone, atol=1e-5, rtol=1e-5)


GRADIENTS = [Full(), Truncated(2), Checkpointed(), Phantom(2), OneStep(), Implicit(max_steps=3)]


@pytest.mark.parametrize(
    ("name", "gradient"),
    [
        pytest.param(name, gradient, id=f"{name}-{type(gradient).__name__}")
        for name in CORES
        for gradient in GRADIENTS
        if preset(name).injection.reads_input or gradient.reaches_every_loop
    ],
)
@pytest.mark.parametrize("depth", [1, [1, 4]], ids=str)
def test_every_parameter_and_the_input_get_a_gradient(
    name: str, gradient: LoopGradient, depth: int | list[int]
) -> None:
    core, x = small_core(name), embedded().requires_grad_()
    loops = torch.tensor(depth) if isinstance(depth, list) else depth
    noise = FreshNoise(torch.Generator().manual_seed(0))
    output = core(CoreInput(x, Attend()), LoopPlan(loops, gradient=gradient), noise)
    (output.readouts[-1] * torch.randn_like(x)).sum().backward()
    silent = [key for key, p in core.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert x.grad is not None
    assert x.grad.any(dim=-1).all()


@pytest.mark.parametrize("name", ["ouro", "loopmdm"])
@pytest.mark.parametrize("gradient", [Truncated(2), Phantom(), OneStep(), Implicit()])
def test_a_gradient_that_would_never_reach_the_input_is_refused(
    name: str, gradient: LoopGradient
) -> None:
    core, plan = small_core(name), LoopPlan(4, gradient=gradient)
    with pytest.raises(ValueError, match=r"the only way in for the input .* use gradient=full"):
        think(core, embedded(), plan)
    with torch.no_grad():
        think(core, embedded(), plan)


def test_a_condition_changes_the_row_it_belongs_to_and_no_other() -> None:
    core, x, cond = small_core("plain", conditioned=True), embedded(), torch.randn(2, 16)
    before = think(core, x, LoopPlan(2), cond=cond).readouts[-1]
    cond[1] += 1
    after = think(core, x, LoopPlan(2), cond=cond).readouts[-1]
    assert torch.equal(before[0], after[0])
    assert not torch.isclose(before[1], after[1]).any(dim=-1).all()


def test_a_condition_stays_with_its_row_when_rows_join_late() -> None:
    core, x, cond = small_core("plain", conditioned=True), embedded(3), torch.randn(3, 16)
    together = think(core, x, LoopPlan(torch.tensor([1, 4, 2])), cond=cond).readouts[-1]
    for row, loops in enumerate((1, 4, 2)):
        here = slice(row, row + 1)
        alone = think(core, x[here], LoopPlan(loops), cond=cond[here]).readouts[-1]
        torch.testing.assert_close(together[here], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_a_position_is_blind_to_the_future_only_if_it_must_be(causal: bool) -> None:
    core, x = small_core("plain"), embedded()
    changed = x.clone()
    changed[:, 3] += 1
    ours, others = (
        think(core, values, LoopPlan(3), attend=Attend(causal)).readouts[-1]
        for values in (x, changed)
    )
    assert torch.equal(ours[:, :3], others[:, :3]) == causal
    assert not torch.isclose(ours[:, 3:], others[:, 3:]).all(dim=-1).any()


def test_an_adaptive_rule_leaves_each_row_where_it_leaves_it_alone() -> None:
    core, x = small_core("parcae"), embedded(4)
    rule = FixedPoint(tolerance=0.05)
    together = think(core, x, LoopPlan(30, halting=rule)).result
    assert len(together.depth.unique()) > 1
    for row in range(4):
        here = slice(row, row + 1)
        alone = think(core, x[here], LoopPlan(30, halting=rule)).result
        assert torch.equal(together.depth[here], alone.depth)
        torch.testing.assert_close(together.z[here], alone.z, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(2, 5, 8)}, r"x of shape \[batch, time, 16\], got \[2, 5, 8\]"),
        ({"x": torch.zeros(5, 16)}, r"x of shape \[batch, time, 16\], got \[5, 16\]"),
        ({"cond": torch.zeros(2, 16)}, r"expects no condition per row, got one: set core.cond"),
        (
            {"attend": Attend(True, torch.ones(2, 4, dtype=torch.bool))},
            r"attend.padding must have the shape \[2, 5\] .*, got \[2, 4\]",
        ),
        ({"positions": torch.zeros(1, 5).long()}, r"positions must have .* got \[1, 5\]"),
        ({"carry": torch.zeros(2, 5, 8)}, r"carry must have the shape \[2, 5, 16\] .* \[2, 5, 8\]"),
    ],
    ids=["width", "axes", "condition", "padding", "positions", "carry"],
)
def test_inputs_of_the_wrong_shape_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        think(small_core("plain"), **{"x": embedded(), "plan": LoopPlan(1), **changes})


def test_a_missing_condition_is_refused() -> None:
    with pytest.raises(ValueError, match="expects a condition per row, got none"):
        think(small_core("plain", conditioned=True), embedded(), LoopPlan(1))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (LoopPlan(4), "an untied core of 3 loops cannot run 4: ask for fewer"),
        (LoopPlan(torch.tensor([1, 2])), "needs the same depth for all sequences: use schedule"),
        (LoopPlan(2, gradient=Implicit()), "gradient Implicit repeats one loop .* core.tied=true"),
        (LoopPlan(2, gradient=OneStep()), "gradient OneStep repeats one loop"),
    ],
)
def test_what_an_untied_core_cannot_do_is_refused(plan: LoopPlan, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        think(small_core("plain", loops=3, tied=False), embedded(), plan)


def test_rows_cannot_join_in_the_middle_of_a_cached_call() -> None:
    core, x = stir(RecurrentCore(preset("parcae"))), embedded()
    plan = LoopPlan(torch.tensor([1, 3]))
    with (
        torch.no_grad(),
        pytest.raises(ValueError, match=r"while a cache is in use: use one depth"),
    ):
        think(core, x, plan, cache=KVCache())


def test_a_carried_state_is_kept_in_the_share_that_each_unit_asks_for() -> None:
    """All of it is the carried state, nothing a new one, and units do not share."""
    core, x = small_core("plain", init=Embed()), embedded()
    carry = torch.randn_like(x)
    states: list[Tensor] = []
    core.bodies[0].register_forward_pre_hook(lambda _, args: states.append(args[0]))

    def start(carry: Tensor | None, keep: Tensor | None) -> Tensor:
        core(CoreInput(x, Attend()), LoopPlan(1), PositionNoise(), carry=carry, keep=keep)
        return states[-1]

    fresh = start(None, None)
    assert torch.equal(start(carry, torch.ones(2, 5)), carry)
    assert torch.equal(start(carry, torch.zeros(2, 5)), fresh)
    keep = torch.zeros(2, 5)
    keep[0, 3], keep[1, 2] = 1.0, 0.25
    mixed = start(carry, keep)
    assert torch.equal(mixed[0, 3], carry[0, 3])
    assert torch.allclose(mixed[1, 2], 0.25 * carry[1, 2] + 0.75 * fresh[1, 2])
    assert torch.equal(mixed[1, 0], fresh[1, 0])


def test_a_share_of_nothing_is_refused() -> None:
    core, x = small_core("plain"), embedded()
    with pytest.raises(ValueError, match="pass carry too"):
        core(CoreInput(x, Attend()), LoopPlan(1), PositionNoise(), keep=torch.ones(2, 5))
    with pytest.raises(ValueError, match=r"keep must have the shape \[2, 5\]"):
        core(CoreInput(x, Attend()), LoopPlan(1), PositionNoise(), carry=x, keep=torch.ones(2, 4))

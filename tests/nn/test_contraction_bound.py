"""The bound of the refinement loop: what is certified holds against an adversary, the rest does not."""

from typing import Any

import pytest
import torch
from cores import preset, stir
from hypothesis import given
from hypothesis import strategies as st
from nn.bounded import WIDTH, bounded, driven, gain, inputs, state
from reference import attention
from strategies import attends, examples
from torch import Tensor

from loopverse.depth import LoopPlan, largest_gain, measured_quotient
from loopverse.nn import (
    Attend,
    Attention,
    CoreInput,
    KVCache,
    PositionNoise,
    RecurrentCore,
    RetentionResidual,
)
from loopverse.nn.lipschitz import nonexpanding

ONLY_FIRST = Attend(True, torch.tensor([[True, False, False]]))
"""Later positions read the first one and themselves."""


@examples(40)
@given(
    data=st.data(),
    tokens=st.integers(1, 5),
    seed=st.integers(0, 99),
    stirred=st.sampled_from([0.0, 0.3, 3.0, 1e4]),
    size=st.sampled_from([1e-3, 1.0, 30.0]),
    num_kv_heads=st.sampled_from([1, 2]),
)
def test_no_state_or_mask_or_weight_exceeds_the_certificate(
    data: st.DataObject, tokens: int, seed: int, stirred: float, size: float, num_kv_heads: int
) -> None:
    core = stir(bounded(tokens=tokens, num_kv_heads=num_kv_heads))
    stir(core.bodies[0].layers, stirred)
    read = inputs(tokens, data.draw(attends(1, tokens)), seed)
    found, certified = gain(core, read, state(tokens, size, seed)), core.certified_gain
    assert certified is not None
    assert found <= certified * (1 + 1e-9)
    assert certified < 1


@pytest.mark.parametrize(
    ("tokens", "attend", "num_kv_heads"),
    [(1, None, 1), (2, None, 2), (3, None, 1), (3, ONLY_FIRST, 1), (3, Attend(True), 2)],
    ids=["one token", "two tokens", "three tokens", "a mask", "causal"],
)
def test_an_adversary_comes_close_to_the_certificate_and_not_beyond(
    tokens: int, attend: Attend | None, num_kv_heads: int
) -> None:
    core = bounded(tokens=tokens, num_loop=1, num_kv_heads=num_kv_heads)
    met = driven(core, inputs(tokens, attend), state(tokens), 50)
    assert all(found <= certified * (1 + 1e-9) for found, certified in met)
    found, certified = met[-1]
    assert found > 0.95 * certified
    assert found > 1.5 * met[0][0]
    assert certified < 1


@pytest.mark.parametrize("bound", ["none", "linear"])
def test_the_same_adversary_makes_a_loop_expand_that_nothing_holds(bound: str) -> None:
    core = bounded(bound)
    assert core.certified_gain is None
    met = driven(core, inputs(3), state(3), 20)
    assert met[-1][0] > 2


def test_a_free_diagonal_may_grow_and_a_held_one_may_not() -> None:
    for bound in ("none", "linear", "full"):
        injection = RetentionResidual(bound=bound).build(WIDTH, 2)
        with torch.no_grad():
            for name, parameter in injection.named_parameters():
                if name in ("keep", "a", "delta"):
                    parameter.fill_(-30.0 if name == "a" else 1.5)
        z, zeros = torch.ones(1, 1, WIDTH), torch.zeros(1, 1, WIDTH)
        kept = injection.write(z, zeros, injection.read(z, zeros) if bound != "full" else zeros)
        highest = {"none": 1.5, "linear": 1.0, "full": 0.999}[bound]
        torch.testing.assert_close(kept, highest * z)


@pytest.mark.parametrize("decay", [0.2, 0.9])
def test_all_bounds_start_with_the_same_linear_part(decay: float) -> None:
    z, e = torch.randn(2, 1, 3, WIDTH)
    parts = []
    for bound in ("none", "linear", "full"):
        injection = RetentionResidual(decay, bound).build(WIDTH, 2)
        nothing = (
            0 * z if bound == "full" else injection.read(z, e)
        )  # what layers without branches write
        parts.append(injection.write(z, e, nothing))
        torch.testing.assert_close(
            injection.write(z, 0 * e, nothing * 0 if bound == "full" else z), decay * z
        )
    torch.testing.assert_close(parts[0], parts[1])
    torch.testing.assert_close(parts[2], parts[1], atol=0.01, rtol=0)  # its decay has a ceiling


def by_hand(core: RecurrentCore, read: CoreInput, z: Tensor, e: Tensor) -> Tensor:
    """One certified loop from its equations: heads and channels the slow way."""
    p = core.bodies[0].injection
    step = torch.log1p(torch.exp(p.delta))
    kept = 0.999 * torch.exp(-step * torch.exp(p.a))
    start = h = (1 - kept).sqrt() * z + e
    rest, tokens = 1.0, core.config.injection.certified_tokens
    for block in core.bodies[0].layers.blocks:
        q, k, v, out, gate_up, down = nonexpanding(block.matrices())
        shares, sharpness = torch.sigmoid(block.share), torch.log1p(torch.exp(block.sharpness))
        many = (tokens * core.config.num_heads / core.config.kv_heads) ** 0.5
        slow = Attention(
            WIDTH, core.config.num_heads, core.config.kv_heads, qk_norm=False, qk_bias=False
        )
        slow.qkv.weight.data = torch.cat([sharpness * slow.head_width**0.5 / WIDTH * q, k, v])
        slow.out.weight.data = out / (many + sharpness * (1 + many))
        lengths = h.norm(dim=-1, keepdim=True)
        held = torch.where(lengths > WIDTH**0.5, WIDTH**0.5 * h / lengths, h)
        h = (1 - shares[0]) * h + shares[0] * attention(slow, held, read.attend)
        pairs = (h @ gate_up.T).unflatten(-1, (2, -1))
        h = (1 - shares[1]) * h + shares[1] * pairs.amax(dim=-2) @ down.T
        rest = rest * (1 - shares[0]) * (1 - shares[1])
    return kept * z + step * (e @ p.b.T) + 0.95 * (1 - kept).sqrt() * (h - rest * start)


def test_a_certified_loop_equals_its_equation() -> None:
    core, z = bounded(num_kv_heads=1), state(3)
    read = inputs(3, Attend(True, torch.tensor([[False, True, True]])))
    with torch.no_grad():
        e, _ = core._read(read)
        torch.testing.assert_close(core.loop(read)(z), by_hand(core, read, z, e))


def test_distant_states_come_together_at_the_certified_rate_at_least() -> None:
    core, read = bounded(), inputs(3)
    step, certified = core.loop(read), core.certified_gain
    assert certified is not None
    with torch.no_grad():
        z, other = state(3, 100.0), state(3, 0.1, seed=2)
        for _ in range(30):
            assert (measured_quotient(step, z, other) <= certified).all()
            z, other = step(z), step(other)
        assert (z - other).norm() <= certified**30 * 100 * (3 * WIDTH) ** 0.5 * 2


def test_the_measured_gain_of_a_core_is_that_of_its_dense_jacobian() -> None:
    for bound in ("none", "linear", "full"):
        core, read, z = bounded(bound), inputs(3), state(3)
        rng = torch.Generator().manual_seed(0)
        found = largest_gain(core.loop(read), z, iterations=100, rng=rng)
        torch.testing.assert_close(
            found[0], torch.tensor(gain(core, read, z)).double(), rtol=0.02, atol=0
        )


def test_the_loop_that_is_measured_is_the_loop_that_runs() -> None:
    for changes in ({}, {"tied": False, "loops": 2}):
        core, read, z = bounded(**changes), inputs(3), state(3)
        with torch.no_grad():
            ran = core(read, LoopPlan(2), PositionNoise(), carry=z).result.z
            assert torch.equal(core.loop(read, 1)(core.loop(read, 0)(z)), ran)


def test_an_untied_core_is_certified_by_its_loosest_loop() -> None:
    core = bounded(tied=False, loops=3)
    alone = [body.certified_gain() for body in core.bodies]
    assert len(set(alone)) == 3
    assert core.certified_gain == max(alone)


def test_more_tokens_than_certified_are_refused_with_those_of_a_cache() -> None:
    core = bounded(tokens=3)
    with pytest.raises(
        ValueError, match=r"rows of up to 3 tokens, got 4: set core.injection.tokens=4"
    ):
        core(inputs(4), LoopPlan(1), PositionNoise())
    cache, noise = KVCache(), PositionNoise()
    with torch.no_grad():
        for count in (2, 1):
            core(CoreInput(inputs(count).x, Attend(), cache=cache), LoopPlan(1), noise)
        with pytest.raises(ValueError, match=r"rows of up to 3 tokens, got 4"):
            core(CoreInput(inputs(1).x, Attend(), cache=cache), LoopPlan(1), noise)


def test_a_single_loop_uses_no_cache() -> None:
    with pytest.raises(ValueError, match="a single loop cannot use a cache"):
        bounded().loop(CoreInput(inputs(2).x, Attend(), cache=KVCache()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norms": "sandwich"}, r"bound=full needs core.norms=pre .*, got sandwich: set it so"),
        ({"conditioned": True}, r"needs core.conditioned=false .*, got true: .*bound=linear"),
        ({"qk_norm": True}, r"needs core.qk_norm=false"),
        ({"qk_bias": True}, r"needs core.qk_bias=false"),
        ({"scale_branches": True}, r"needs core.scale_branches=false"),
        ({"state_norm": "every"}, r"cannot normalise the state after every loop .* use core.state"),
    ],
)
def test_what_has_no_constant_is_refused_in_a_certified_loop(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bounded(**changes)
    bounded("linear", **changes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bound": "half"}, r'core.injection.bound must be one of none, linear, full, got "half"'),
        ({"tokens": 0}, r"core.injection.tokens must be at least 1, got 0"),
        (
            {"bound": "full", "decay": 0.9995},
            r"core.injection.decay must be below 0.999 .* got 0.9995",
        ),
    ],
)
def test_bounds_that_do_not_exist_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetentionResidual(**settings)


def test_the_published_core_keeps_the_names_of_its_parameters() -> None:
    """Checkpoints of it stay readable, and the optimizers' view of a certified one is the same."""
    names = {
        bound: set(
            RecurrentCore(preset("loopwm", injection=RetentionResidual(bound=bound))).state_dict()
        )
        for bound in ("linear", "full")
    }
    published = {f"bodies.0.injection.{name}" for name in ("a", "b", "delta")}
    assert {name for name in names["linear"] if "injection" in name} == published
    assert names["full"] - names["linear"] == {
        f"bodies.0.layers.blocks.{i}.{name}" for i in (0, 1) for name in ("share", "sharpness")
    }
    assert all("norm" in name for name in names["linear"] - names["full"])

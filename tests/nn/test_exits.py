"""Units that halt one after another: packed or not, in a batch or alone, cached or at once, it is one result."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from cores import CORES, small_core
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor

from loopverse.depth import LoopPlan, LoopResult, roster
from loopverse.depth.halting import Halting
from loopverse.nn import Attend, CoreInput, KVCache, PositionNoise

CAUSAL = {name: small_core(name).double() for name in CORES}
"""In double precision: what rounds differently stays far below what reads a wrong key."""
NOISE = PositionNoise()
DEEPEST = 4


@dataclass(eq=False)
class Scripted(Halting):
    """Halts each unit after the loop that a table names, `[b t]`."""

    table: Tensor
    adaptive = True

    def begin(self, z: Tensor) -> dict[str, Tensor]:
        return {"when": self.table}

    def update(
        self, memory: Any, before: Tensor, after: Tensor, i: int, read: Any, head: Any
    ) -> tuple[Any, Tensor]:
        assert memory["when"].shape == after.shape[:2]
        return memory, memory["when"] <= i + 1


@dataclass
class Case:
    """Rows with some padding on the left, and when their units halt."""

    x: Tensor
    table: Tensor
    padding: Tensor | None
    causal: bool = True
    shrink: str = "always"
    late: bool = False

    def attend(self, rows: slice, units: slice) -> Attend:
        padding = None if self.padding is None else self.padding[rows, units]
        return Attend(self.causal, padding)

    def run(
        self,
        name: str,
        kv: str,
        rows: slice = slice(None),
        units: slice = slice(None),
        cache: KVCache | None = None,
        deepest: int = DEEPEST,
    ) -> tuple[Tensor, LoopResult]:
        rule = Scripted(self.table[rows, units], kv=kv, shrink=self.shrink, late=self.late)
        inputs = CoreInput(self.x[rows, units], self.attend(rows, units), cache=cache)
        with torch.no_grad():
            output = CAUSAL[name](inputs, LoopPlan(deepest, halting=rule), NOISE)
        return output.readouts[-1], output.result

    @property
    def units(self) -> Tensor:
        return torch.ones_like(self.table).bool() if self.padding is None else self.padding


@st.composite
def cases(draw: st.DrawFn, causal: bool | None = None) -> Case:
    batch, length = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    when = st.lists(st.integers(1, DEEPEST + 1), min_size=length, max_size=length)
    table = torch.tensor([draw(when) for _ in range(batch)])
    padding = None
    if draw(st.booleans()):
        left = torch.tensor([draw(st.integers(0, length - 1)) for _ in range(batch)])
        padding = torch.arange(length) >= left[:, None]
    rng = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    x = torch.randn(batch, length, 16, generator=rng, dtype=torch.float64)
    return Case(x, table, padding, draw(st.booleans()) if causal is None else causal)


def close(ours: Tensor, others: Tensor) -> None:
    torch.testing.assert_close(ours, others, atol=1e-9, rtol=1e-9)


KV = pytest.mark.parametrize("kv", ["copy", "exact", "first", "last"])


@KV
@pytest.mark.parametrize("name", CORES)
@examples(8)
@given(case=cases())
def test_a_batch_equals_each_row_alone(name: str, kv: str, case: Case) -> None:
    together, result = case.run(name, kv)
    for row in range(len(case.x)):
        alone, by_itself = case.run(name, kv, slice(row, row + 1))
        close(together[row][case.units[row]], alone[0][case.units[row]])
        assert torch.equal(result.depth[row][case.units[row]], by_itself.depth[0][case.units[row]])


LINGERING = st.sampled_from([("halving", False), ("always", True), ("halving", True)])


@KV
@pytest.mark.parametrize("name", CORES)
@examples(5)
@given(case=cases(causal=True), how=LINGERING, data=st.data())
def test_units_that_linger_without_effect_change_nothing(
    name: str, kv: str, case: Case, how: tuple[str, bool], data: st.DataObject
) -> None:
    shrink, late = how
    lingering = replace(case, shrink=shrink, late=late)
    length = case.x.shape[1]
    cut = data.draw(st.integers(1, length))
    parts = [part for part in (slice(0, cut), slice(cut, length)) if part.start < part.stop]
    caches = (KVCache(), KVCache())
    pairs = [[one.run(name, kv) for one in (case, lingering)]]
    pairs += [
        [
            one.run(name, kv, units=part, cache=cache)
            for one, cache in zip((case, lingering), caches, strict=True)
        ]
        for part in parts
    ]
    for part, ((read, result), (later, other)) in zip([slice(None), *parts], pairs, strict=True):
        present = case.units[:, part]
        close(later[present], read[present])
        assert torch.equal(other.depth[present], result.depth[present])


@pytest.mark.parametrize("name", CORES)
def test_gradients_do_not_depend_on_what_is_packed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, table = CAUSAL[name], torch.tensor([[1, 4, 2, 3, 1], [2, 2, 1, 1, 2], [4, 1, 3, 1, 4]])
    found: list[Tensor] = []
    for below in (0.0, 1.1):
        monkeypatch.setattr(roster, "PACKED_BELOW", below)
        rng = torch.Generator().manual_seed(0)
        x = torch.randn(3, 5, 16, generator=rng, dtype=torch.float64).requires_grad_()
        plan = LoopPlan(DEEPEST, halting=Scripted(table))
        read = core(CoreInput(x, Attend()), plan, NOISE).readouts[-1]
        weight = core.bodies[0].layers.blocks[0].attention.qkv.weight  # pyright: ignore[reportAttributeAccessIssue]  typed as modules
        found.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(read.square().sum(), [x, weight])])
        )
    close(found[0], found[1])


@pytest.mark.parametrize("name", CORES)
@examples(8)
@given(case=cases())
def test_what_is_computed_does_not_depend_on_what_is_packed(name: str, case: Case) -> None:
    found = []
    usual = roster.PACKED_BELOW
    for below in (0.0, 0.6, 1.1):
        roster.PACKED_BELOW = below
        try:
            found.append(case.run(name, "copy"))
        finally:
            roster.PACKED_BELOW = usual
    for read, result in found[1:]:
        close(read[case.units], found[0][0][case.units])
        assert torch.equal(result.depth, found[0][1].depth)


@KV
@pytest.mark.parametrize("name", CORES)
@examples(8)
@given(case=cases(), deepest=st.integers(1, DEEPEST - 1))
def test_a_unit_that_halted_never_changes_again(
    name: str, kv: str, case: Case, deepest: int
) -> None:
    _, result = case.run(name, kv)
    _, sooner = case.run(name, kv, deepest=deepest)
    halted = (case.table <= deepest) & case.units
    close(result.z[halted], sooner.z[halted])
    expected = torch.where(case.units, case.table.clamp(max=DEEPEST), 1)
    assert torch.equal(result.depth, expected)
    assert result.converged is not None
    assert torch.equal(result.converged, (case.table <= DEEPEST) | ~case.units)


@pytest.mark.parametrize("name", CORES)
@examples(8)
@given(case=cases())
def test_exact_is_the_loop_that_computes_all_units_and_keeps_what_halted(
    name: str, case: Case
) -> None:
    core = CAUSAL[name]
    _, result = case.run(name, "exact")
    whole = slice(None)
    loop = core.loop(CoreInput(case.x, case.attend(whole, whole)))
    with torch.no_grad():
        z = loop(_start(core, case))
        for i in range(1, DEEPEST):
            z = torch.where((case.table > i)[..., None], loop(z), z)
    close(result.z[case.units], z[case.units])


def _start(core: Any, case: Case) -> Tensor:
    """The initial state, as the first loop is given it."""
    seen: list[Tensor] = []
    handle = core.bodies[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    core(CoreInput(case.x, case.attend(slice(None), slice(None))), LoopPlan(1), NOISE)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("kv", ["copy", "exact", "first"])
@pytest.mark.parametrize("name", CORES)
@examples(10)
@given(case=cases(causal=True), data=st.data())
def test_reading_in_pieces_with_a_cache_equals_reading_at_once(
    name: str, kv: str, case: Case, data: st.DataObject
) -> None:
    at_once, result = case.run(name, kv)
    cache, start, length = KVCache(), 0, case.x.shape[1]
    while start < length:
        stop = start + data.draw(st.integers(1, length - start))
        part = slice(start, stop)
        read, piece = case.run(name, kv, units=part, cache=cache)
        close(read[case.units[:, part]], at_once[:, part][case.units[:, part]])
        assert torch.equal(
            piece.depth[case.units[:, part]], result.depth[:, part][case.units[:, part]]
        )
        start = stop


@pytest.mark.parametrize("name", CORES)
@examples(8)
@given(case=cases(causal=True))
def test_with_the_last_keys_alone_a_batch_equals_each_row_alone_through_a_cache(
    name: str, case: Case
) -> None:
    def units_read(rows: slice) -> Tensor:
        cache = KVCache()
        units = [slice(i, i + 1) for i in range(case.x.shape[1])]
        return torch.cat([case.run(name, "last", rows, unit, cache)[0] for unit in units], 1)

    together = units_read(slice(None))
    for row in range(len(case.x)):
        present = case.units[row]
        close(together[row][present], units_read(slice(row, row + 1))[0][present])


@pytest.mark.parametrize(
    ("first", "then"), [("copy", "exact"), ("exact", "copy"), ("last", "copy")]
)
def test_a_cache_is_read_as_it_was_begun(first: str, then: str) -> None:
    case, cache = (
        Case(torch.randn(1, 3, 16, dtype=torch.float64), torch.tensor([[1, 2, 1]]), None),
        KVCache(),
    )
    case.run("plain", first, units=slice(0, 2), cache=cache)
    with pytest.raises(ValueError, match=f"begun with halting.kv={first} and this call has {then}"):
        case.run("plain", then, units=slice(2, 3), cache=cache)
    cache.crop(0)
    case.run("plain", then, units=slice(0, 2), cache=cache)

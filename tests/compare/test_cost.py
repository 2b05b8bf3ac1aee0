"""What a run costs beside FLOPs: memory, counted, and energy, as the machine tells it."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopverse.compare.energy import Meter, add_joules, read_joules
from loopverse.compare.memory import training_memory
from loopverse.compare.table import _a_batch
from loopverse.training import build_model
from loopverse.training.compose import compose

TINY = ["size=tiny", "domain.context=64", "training.batch_size=2", "schedule=constant"]


def memory(*words: str) -> int:
    config = compose([*TINY, "training.precision=fp32", *words])
    model = build_model(config)
    return training_memory(model, config, _a_batch(model, config))


def test_every_loop_keeps_as_much() -> None:
    one, two, three = (memory(f"core.loops={loops}") for loops in (1, 2, 3))
    assert three - two == two - one > 0


def test_what_is_computed_again_is_not_kept() -> None:
    full = memory("core.loops=8")
    assert memory("core.loops=8", "gradient=checkpointed") < 0.7 * full
    assert memory("core.loops=8", "gradient=truncated_4") < 0.8 * full


def test_weights_count_with_their_gradients_and_the_memory_of_the_optimiser() -> None:
    """AdamW remembers two numbers for each; of untied layers, each keeps as much as a loop does."""
    tied, untied = memory("core.loops=3"), memory("core.loops=3", "core.tied=false")
    layers = [
        build_model(compose([*TINY, *words]))
        for words in (["core.loops=3"], ["core.loops=3", "core.tied=false"])
    ]
    more = 4 * sum(p.numel() for p in layers[1].parameters()) - 4 * sum(
        p.numel() for p in layers[0].parameters()
    )
    assert untied - tied == pytest.approx(4 * more, rel=0.01)


def counter(root: Path, name: str, microjoules: int, most: int = 1000_000_000) -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")


def test_packages_add_up_and_their_parts_are_not_counted_again(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        counter(tmp_path, name, 5_000_000)
    meter = Meter(tmp_path)
    meter.start()
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        counter(tmp_path, name, 8_000_000)
    assert meter.joules() == pytest.approx(6.0)


@given(begun=st.integers(0, 999), used=st.integers(0, 999))
def test_a_counter_that_begins_anew_is_followed(
    tmp_path_factory: pytest.TempPathFactory, begun: int, used: int
) -> None:
    root = tmp_path_factory.mktemp("powercap")
    counter(root, "intel-rapl:0", begun * 1_000_000)
    meter = Meter(root)
    meter.start()
    counter(root, "intel-rapl:0", (begun + used) % 1000 * 1_000_000)
    assert meter.joules() == pytest.approx(used)


def test_a_machine_that_tells_nothing_has_used_nobody_knows_what(tmp_path: Path) -> None:
    meter = Meter(tmp_path)
    meter.start()
    assert math.isnan(meter.joules())


def test_a_run_that_was_stopped_adds_up_and_one_that_was_killed_is_not_known(
    tmp_path: Path,
) -> None:
    note = tmp_path / "a.energy.json"
    add_joules(note, 3.0, anew=True)
    add_joules(note, 2.0, anew=False)
    assert read_joules(note) == 5.0
    add_joules(note, 1.0, anew=True)
    assert read_joules(note) == 1.0
    killed = tmp_path / "b.energy.json"
    add_joules(killed, 2.0, anew=False)
    assert math.isnan(read_joules(killed))

"""What the benchmark of drawn depths counts, and that it runs."""

import importlib.util
import sys
from collections import Counter
from itertools import pairwise
from types import ModuleType

import pytest
from source_code import REPOSITORY

from loopverse.training.config import GROUPS


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """The script as a module."""
    path = REPOSITORY / "benchmarks" / "depth_cost.py"
    spec = importlib.util.spec_from_file_location("depth_cost", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look their types up
    spec.loader.exec_module(module)
    return module


def test_every_round_holds_the_depths_fixed_that_it_drew(benchmark: ModuleType) -> None:
    planned = benchmark.turns(rounds=4, steps=30, mean=4)
    for number in range(4):
        steps = [turn for turn in planned if turn.round == number]
        depths = {kind: [t.depth for t in steps if t.kind == kind] for kind in ("drawn", "held")}
        assert len(depths["drawn"]) == 30
        assert Counter(depths["drawn"]) == Counter(depths["held"])
        changes = sum(one != other for one, other in pairwise(depths["held"]))
        assert changes == len(set(depths["held"])) - 1
        assert steps[0].kind == ("left out" if number % 2 else "drawn")


def test_no_step_counts_as_held_at_which_the_depth_changes(benchmark: ModuleType) -> None:
    planned = benchmark.turns(rounds=4, steps=30, mean=4)
    for before, turn in pairwise(planned):
        if turn.kind == "held":
            assert before.depth == turn.depth
            assert before.kind != "drawn"


def test_the_ratio_is_of_sums_and_the_interval_over_rounds(benchmark: ModuleType) -> None:
    planned = benchmark.turns(rounds=6, steps=10, mean=3)
    price = {"drawn": 1.1, "held": 1.0, "left out": 50.0}
    times = benchmark.Times.of(planned, [turn.depth * price[turn.kind] for turn in planned])
    assert times.ratio() == pytest.approx(1.1)
    assert times.ratio_of_medians() == pytest.approx(1.1)
    assert times.interval() == pytest.approx((1.1, 1.1))
    times.rounds[0]["drawn"] *= 2
    low, high = times.interval()
    assert low < times.ratio() < high


def test_it_trains_at_the_depths_it_planned(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ["size=tiny", "domain.context=8", "domain.limit=20000", "training.batch_size=1"]
    benchmark.main(["--rounds", "2", "--steps", "3", "--mean", "2", *tiny])
    assert "2 rounds of 3 steps: ratio of sums" in capsys.readouterr().out
    assert "listed" not in GROUPS["schedule"]

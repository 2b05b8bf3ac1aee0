"""Settings that no core can have are refused: expected, got, what to do."""

from typing import Any

import pytest
from cores import CORES, preset

from loopverse.nn import CoreConfig, RecurrentCore


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, r"core.width must be at least 1, got 0"),
        ({"num_heads": 0}, r"core.num_heads must be at least 1, got 0"),
        ({"num_loop": 0}, r"core.num_loop must be at least 1, got 0"),
        ({"loops": 0}, r"core.loops must be at least 1, got 0"),
        ({"num_coda": -1}, r"core.num_coda must not be negative, got -1"),
        ({"width": 64, "num_heads": 5}, r"must divide core.width, got 5 heads .* 64: use 4 heads"),
        ({"width": 12, "num_heads": 4}, r"must be even for rotary positions, got 12 / 4 = 3"),
        ({"num_kv_heads": 3}, r"core.num_kv_heads must divide core.num_heads \(4\), got 3"),
        ({"norms": "post"}, r'must be one of pre, sandwich, sandwich_sum, got "post"'),
        ({"state_norm": "first"}, r'must be one of none, last, every, got "first"'),
    ],
)
def test_an_impossible_core_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecurrentCore(preset("plain", **changes))


@pytest.mark.parametrize("width", [1, 7, 12, 30, 64])
def test_the_number_of_heads_that_is_proposed_is_accepted(width: int) -> None:
    config = preset("plain", width=width, num_heads=11, num_kv_heads=0)
    with pytest.raises(ValueError, match="core.num_heads must divide") as refusal:
        config.check()
    config.num_heads = int(str(refusal.value).split("use ")[1].split()[0])
    if width % 2 == 0:  # an odd width has no rotary pairs, whatever the heads
        config.check()


@pytest.mark.parametrize(
    ("settings", "hidden"),
    [
        ({"width": 128}, 352),
        ({"width": 96, "mlp_ratio": 4.0}, 384),
        ({"width": 128, "mlp_hidden": 100}, 100),
    ],
)
def test_hidden_channels_are_a_multiple_of_32_or_exactly_as_asked(
    settings: dict[str, Any], hidden: int
) -> None:
    assert CoreConfig(**settings).hidden == hidden


@pytest.mark.parametrize("name", CORES)
def test_every_published_core_is_possible(name: str) -> None:
    preset(name).check()

"""Initial states come from an explicit source: fresh for training, by position for use."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from loopverse.nn import Embed, FreshNoise, Normal, PositionNoise, Zeros


def fresh(seed: int = 0) -> FreshNoise:
    return FreshNoise(torch.Generator().manual_seed(seed))


def test_zeros_and_the_input_itself_need_no_noise() -> None:
    e, positions = torch.randn(2, 3, 4), torch.arange(3).expand(2, 3)
    assert torch.equal(Zeros().start(e, positions, fresh()), torch.zeros(2, 3, 4))
    assert torch.equal(Embed().start(e, positions, fresh()), e)


@pytest.mark.parametrize("std", [0.0, 0.3])
def test_noise_has_the_deviation_asked_for_and_no_outliers(std: float) -> None:
    e, positions = torch.zeros(8, 64, 128), torch.arange(64).expand(8, 64)
    deviation = std or (2 / (5 * 128)) ** 0.5
    wide = Normal(std, truncated=False).start(e, positions, fresh())
    cut = Normal(std).start(e, positions, fresh())
    assert wide.std().item() == pytest.approx(deviation, rel=0.01)
    assert cut.std().item() == pytest.approx(0.9866 * deviation, rel=0.01)
    assert cut.abs().max() <= 3 * deviation
    assert wide.abs().max() > 3 * deviation


def test_fresh_noise_depends_on_its_generator_only() -> None:
    like, positions = torch.empty(2, 5, 4), torch.zeros(2, 5, dtype=torch.long)
    torch.manual_seed(1)
    first = fresh().draw(like, positions, True)
    torch.manual_seed(2)
    assert torch.equal(first, fresh().draw(like, positions, True))
    assert not torch.equal(first, fresh(1).draw(like, positions, True))
    assert not torch.equal(first[0], first[1])


@examples(25)
@given(st.data())
def test_position_noise_depends_on_seed_and_position_only(data: st.DataObject) -> None:
    seed, width = data.draw(st.integers(0, 5)), data.draw(st.sampled_from([2, 8]))
    truncated = data.draw(st.booleans())
    whole = PositionNoise(seed).draw(
        torch.empty(1, 200, width), torch.arange(200)[None], truncated
    )[0]
    noise = PositionNoise(seed)
    for _ in range(3):  # any order of calls, of any size
        rows, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
        positions = torch.tensor(
            [[data.draw(st.integers(0, 199)) for _ in range(length)] for _ in range(rows)]
        )
        drawn = noise.draw(torch.empty(rows, length, width), positions, truncated)
        assert torch.equal(drawn, whole[positions])


def test_positions_and_seeds_differ_from_each_other() -> None:
    like, positions = torch.empty(1, 130, 8), torch.arange(130)[None]
    drawn = PositionNoise(0).draw(like, positions, False)[0]
    assert len(drawn.unique(dim=0)) == 130
    assert not torch.isclose(drawn, PositionNoise(1).draw(like, positions, False)[0]).any()


def test_padding_at_negative_positions_is_harmless() -> None:
    noise = PositionNoise()
    drawn = noise.draw(torch.empty(1, 3, 4), torch.tensor([[-2, -1, 0]]), True)
    assert torch.equal(
        drawn[0, 2], noise.draw(torch.empty(1, 1, 4), torch.zeros(1, 1).long(), True)[0, 0]
    )
    assert drawn.isfinite().all()


def test_a_negative_deviation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"core.init.std must not be negative, got -1"):
        Normal(std=-1.0)

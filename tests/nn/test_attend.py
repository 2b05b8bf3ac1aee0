"""Masks equal their definition, pair by pair, whatever they are made of."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import allowed_by
from strategies import attends, examples

from loopverse.nn import Attend


@examples(60)
@given(st.data())
def test_a_mask_allows_exactly_what_its_definition_allows(data: st.DataObject) -> None:
    rows, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 6))
    attend = data.draw(attends(rows, length))
    expected = torch.tensor(allowed_by(attend, rows, length))
    mask = attend.mask(length)
    if mask is None:  # plain attention says it all
        assert attend.padding is None
        assert attend.segments is None
        return
    assert torch.equal(mask[:, 0].expand_as(expected), expected)


@examples(60)
@given(st.data())
def test_a_mask_over_a_cached_past_is_the_last_rows_of_the_whole_mask(data: st.DataObject) -> None:
    rows, past, length = (data.draw(st.integers(1, n)) for n in (3, 4, 4))
    whole = data.draw(attends(rows, past + length))
    whole.segments = None
    new = Attend(whole.causal, None if whole.padding is None else whole.padding[:, past:])
    before = past if whole.padding is None else whole.padding[:, :past]
    expected = torch.tensor(allowed_by(whole, rows, past + length))[:, past:]
    mask = new.mask(length, before)
    if mask is None:
        assert expected.all(), "a full mask was expected, or plain causal attention without a past"
        return
    assert torch.equal(mask[:, 0].expand_as(expected), expected)


def test_padding_of_the_past_alone_is_not_forgotten() -> None:
    mask = Attend().mask(1, torch.tensor([[False, True], [True, True]]))
    assert mask is not None
    assert mask[:, 0, 0].tolist() == [[False, True, True], [True, True, True]]


def test_no_query_is_left_without_a_key() -> None:
    nobody = torch.zeros(2, 4, dtype=torch.bool)
    mask = Attend(True, nobody, torch.zeros(2, 4, dtype=torch.long)).mask(4)
    assert mask is not None
    assert mask.any(-1).all()


def test_packed_documents_refuse_a_cache() -> None:
    attend = Attend(segments=torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="give each document its own row"):
        attend.mask(2, 3)


def test_taking_rows_takes_those_of_every_mask() -> None:
    attend = Attend(False, torch.rand(3, 4) > 0.5, torch.randint(3, (3, 4)))
    rows = torch.tensor([2, 0])
    expected, taken = attend.mask(4), attend.take(rows).mask(4)
    assert expected is not None
    assert taken is not None
    assert torch.equal(taken, expected[rows])

"""The canvas: what it refuses, and that rows can be taken out and put back."""

from dataclasses import replace

import pytest
import torch

from loopverse_masked_diffusion.canvas import Canvas


def test_a_blank_canvas_is_at_the_start() -> None:
    canvas = Canvas.blank(2, 3, mask_id=7)
    assert canvas.masked.all()
    assert canvas.open.all()
    assert canvas.time.tolist() == [1, 1]
    assert canvas.rows.tolist() == [0, 1]
    assert (canvas.certainty == torch.inf).all()


def test_open_is_what_is_masked_and_editable() -> None:
    tokens = torch.tensor([[1, 9, 9]])
    assert Canvas.of(tokens, 9).open.tolist() == [[False, True, True]]
    editable = torch.tensor([[True, True, False]])
    canvas = Canvas.of(tokens, 9, editable)
    assert canvas.open.tolist() == [[False, True, False]]
    assert canvas.masked.tolist() == [[False, True, True]]


def test_rows_put_back_where_they_were_taken() -> None:
    canvas = Canvas.blank(4, 2, mask_id=0)
    index = torch.tensor([3, 1])
    part = canvas.take(index)
    assert part.rows.tolist() == [3, 1]
    whole = canvas.put(index, replace(part, tokens=part.tokens + part.rows[:, None]))
    assert whole.tokens.tolist() == [[0, 0], [1, 1], [0, 0], [3, 3]]
    assert canvas.masked.all(), "the canvas itself was written to"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("tokens", torch.zeros(3, dtype=torch.long), r"tokens must have the shape \[batch, time\]"),
        ("tokens", torch.zeros(2, 3), "tokens must be torch.int64 of shape .* got torch.float32"),
        ("editable", torch.ones(2, 3), "editable must be torch.bool"),
        ("editable", torch.ones(2, 2).bool(), r"editable must be .*\[2, 3\], got .*\[2, 2\]"),
        ("time", torch.ones(2), "time must be torch.float64"),
        ("rows", torch.arange(3), r"rows must be torch.int64 of shape \[2\], got .*\[3\]"),
    ],
)
def test_wrong_types_and_shapes_are_refused(field: str, value, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Canvas.blank(2, 3, mask_id=0), **{field: value})

"""Where the loops of a language model went: in a text, token by token."""

from pathlib import Path

import torch
from domains.autoregressive.models import adapter_of, make_model

from loopverse.analysis import collect_allocation
from loopverse.depth import FixedPoint
from loopverse.exhibit import ShadedText


def test_a_held_out_text_is_shaded_by_the_loops_behind_each_predicted_token(corpus: Path) -> None:
    model = make_model(corpus=str(corpus))
    rule = FixedPoint(tolerance=0.5)
    found = collect_allocation(model, {"settles": rule}, 4, batch_size=4, max_batches=2)
    assert found.exhibition.problem == ""
    shown = found.exhibition.exhibits[-1]
    assert isinstance(shown, ShadedText)
    adapter = adapter_of(model)
    batch = next(adapter.batches("valid", batch_size=4, seed=0))
    assert "".join(shown.pieces).replace("¶", "") == adapter.tokenizer.decode(batch["targets"][0])
    with torch.no_grad():
        depth = adapter(model.bind(4, halting=rule), batch).depth
    assert depth is not None
    assert depth[0].min() < depth[0].max()
    assert (shown.values[0], shown.values[-1]) == (depth[0, 0], depth[0, -1])

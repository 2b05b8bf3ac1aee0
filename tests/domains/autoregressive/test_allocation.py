"""Where the loops of a language model went: in a text, token by token."""

from pathlib import Path

import torch
from domains.autoregressive.models import adapter_of, make_model

from loopverse.analysis import collect_allocation
from loopverse.depth import FixedPoint
from loopverse.exhibit import ShadedText


def test_a_held_out_text_is_shaded_by_the_loops_behind_each_predicted_token(
    tmp_path: Path,
) -> None:
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"{number} the plain cat sat on the mat.\n" * 4)
    model = make_model(corpus=f"{tmp_path}/*.txt")
    rule = FixedPoint(tolerance=0.5)
    found = collect_allocation(model, {"settles": rule}, 4, batch_size=4, max_batches=2)
    assert found.exhibition.problem == ""
    shown = found.exhibition.exhibits[-1]
    assert isinstance(shown, ShadedText)
    adapter = adapter_of(model)
    batch = next(adapter.batches("valid", batch_size=4, seed=0))
    written = "".join(shown.pieces).replace("¶", "")
    assert written == adapter.tokenizer.decode(batch["targets"][0])
    with torch.no_grad():
        depth = adapter(model.bind(4, halting=rule), batch).depth
    assert depth is not None
    assert depth[0].tolist() != depth[1].tolist()
    assert shown.values == depth[0][batch["weights"][0] > 0].tolist()

"""Where the loops of masked diffusion went: what is difficult, a hidden text, and a text being made."""

from pathlib import Path

import pytest
import torch
from domains.masked_diffusion.models import adapter_of, make_model

from loopverse.analysis import Allocation, collect_allocation
from loopverse.depth import FixedPoint
from loopverse.exhibit import HeatMap, ShadedText

RULE = FixedPoint(tolerance=0.2)


@pytest.fixture
def found(corpus: Path) -> Allocation:
    model = make_model(corpus=str(corpus))
    return collect_allocation(model, {"settles": RULE}, 4, batch_size=4, max_batches=2)


def test_difficulty_is_the_noise_level_and_what_hidden_tokens_cost_before_they_are_weighed(
    corpus: Path,
) -> None:
    model = make_model(corpus=str(corpus))
    adapter = adapter_of(model)
    raw = next(adapter.batches("valid", batch_size=4, seed=0))
    batch = adapter.prepare(raw, torch.Generator().manual_seed(0))
    with torch.no_grad():
        outcome = adapter(model.bind(2), batch)
        found = adapter.difficulties(outcome, batch)
    hidden = batch["visible"] == adapter.mask_id
    assert torch.equal(found["noise level"][:, 3], batch["level"])
    nats = found["surprisal (hidden)"]
    assert torch.equal(nats.isnan(), ~hidden)
    weighed = (nats * batch["scale"][:, None])[hidden]
    assert torch.allclose(weighed, outcome.losses[hidden])


def test_only_hidden_tokens_of_a_held_out_text_are_shaded(found: Allocation) -> None:
    assert found.exhibition.problem == ""
    shown = next(one for one in found.exhibition.exhibits if isinstance(one, ShadedText))
    shaded = sum(value is not None for value in shown.values)
    assert 0.2 < shaded / len(shown.values) < 0.8  # the row of which about half is hidden


def test_a_text_being_made_has_loops_for_every_step_and_place(found: Allocation) -> None:
    shown = found.exhibition.exhibits[-1]
    assert isinstance(shown, HeatMap)
    assert (len(shown.x), shown.lower_is_better) == (24, None)  # as long as the context
    assert 2 <= len(shown.y) <= 16
    loops = {value for row in shown.values for value in row}
    assert loops <= {1.0, 2.0, 3.0, 4.0}
    assert len(loops) > 1

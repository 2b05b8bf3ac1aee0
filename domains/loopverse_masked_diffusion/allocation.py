"""Where the loops went: what is difficult in a text, and a text while it is made, by step and place."""

from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from tensordict import TensorDict
from torch import Tensor

from loopverse.domain import Outcome, Think, Thought
from loopverse.exhibit import HeatMap
from loopverse.nn import CoreInput
from loopverse_masked_diffusion.generation import MaskedDiffusionSampling

if TYPE_CHECKING:
    from loopverse_masked_diffusion.adapter import MaskedDiffusion

LENGTH = 48
"""Tokens of the text, at most."""
STEPS = 16
"""Denoising steps, at most."""


def difficulties(
    adapter: "MaskedDiffusion", outcome: Outcome, batch: TensorDict
) -> dict[str, Float[Tensor, "b t"]]:
    """The noise level of the text, and how unlikely a hidden token was before the bound weighs it."""
    assert outcome.prediction is not None
    tokens, hidden = adapter.answers(batch)
    nats = -outcome.prediction.log_prob(tokens)
    level = cast(Tensor, batch["level"])[:, None]
    return {
        "noise level": level.expand(nats.shape),
        "surprisal (hidden)": torch.where(hidden, nats, torch.nan),
    }


def half_hidden(batch: TensorDict) -> int:
    """The row of a batch of which about half is hidden."""
    return int((cast(Tensor, batch["level"]) - 0.5).abs().argmin())


def sampling_map(adapter: "MaskedDiffusion", think: Think) -> HeatMap:
    """Loops of every place at every step of making a text from nothing."""
    length = min(LENGTH, adapter.config.context - 1)
    settings = MaskedDiffusionSampling(length=length, steps=min(STEPS, length))
    loops: list[list[float]] = []

    def watched(
        inputs: CoreInput,
        carry: Float[Tensor, "b t d"] | None = None,
        outer: float | Float[Tensor, " b"] = 0.0,
        keep: Float[Tensor, "b t"] | None = None,
    ) -> Thought:
        thought = think(inputs, carry, outer, keep)
        loops.append(thought.result.depth[0].float().tolist())
        return thought

    for _ in adapter.sample(watched, [""], settings):
        pass
    return HeatMap(
        "Loops by denoising step and place",
        f"A text of {length} tokens made from nothing in {settings.steps} steps; a row for each time that "
        "it was read, from all hidden to the last. The first place is given: where a document begins.",
        x_label="place",
        x=list(range(len(loops[0]))),
        y_label="step",
        y=list(range(1, len(loops) + 1)),
        values=loops,
        unit="loops",
        lower_is_better=None,
    )

"""Where the loops went: what is difficult in a window, and an episode step by step, beside its error."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from tensordict import TensorDict
from torch import Tensor

from loopverse.analysis import rank_correlation
from loopverse.domain import Outcome, Think
from loopverse.exhibit import Curves, Exhibit, Series
from loopverse.nn import reuse_weights
from loopverse_world_model.prediction import Origin, TransitionDistribution

if TYPE_CHECKING:
    from loopverse_world_model.adapter import WorldModel

LENGTH = 100
"""Transitions that are shown of an episode, at most."""
CANDIDATES = 8
"""Pieces of held-out episodes, of which the longest is shown."""


def difficulties(
    adapter: "WorldModel", outcome: Outcome, batch: TensorDict
) -> dict[str, Float[Tensor, "b t"]]:
    """How many steps ago something was seen, and how wrong the observation was."""
    assert isinstance(outcome.prediction, TransitionDistribution)
    observed, tokens = cast(TensorDict, batch["observation"]), adapter.config.tokens
    squares = adapter.dynamics.errors(outcome.prediction, observed).repeat_interleave(tokens, 1)
    steps = torch.arange(squares.shape[1], device=squares.device) // tokens
    horizon = (steps + 2 - adapter.config.context).clamp(min=1)
    return {
        "horizon": horizon.float().expand(squares.shape),
        "observation error": squares.sqrt(),
    }


def allocation(adapter: "WorldModel", think: Think) -> Iterator[Exhibit]:
    """Loops and one-step error along a held-out episode, two drawings over the same steps."""
    pieces = next(adapter.source.windows("valid").once(CANDIDATES, LENGTH))
    weights = cast(Tensor, pieces["weights"])
    row = int(weights.sum(1).argmax())
    piece = cast(TensorDict, pieces[row : row + 1]).to(next(adapter.parameters()).device)
    with reuse_weights():
        loops, errors = along(adapter, think, piece, int(weights[row].sum()))
    steps = list(range(1, len(loops) + 1))
    found = rank_correlation(loops, errors)
    together = (
        "every step got as many loops"
        if found is None
        else f"their rank correlation in this episode is {found:.2f}".replace("-", "\N{MINUS SIGN}")
    )
    yield Curves(
        "Loops along an episode",
        f"A held-out episode, every observation seen; {together}.",
        x_label="step",
        y_label="loops",
        series=[Series("loops", steps, loops.tolist())],
    )
    yield Curves(
        "One-step error along the same episode",
        "Of the next observation, under the same rule.",
        x_label="step",
        y_label="standard deviations of the data",
        series=[Series("error", steps, errors.tolist())],
    )


def along(
    adapter: "WorldModel", think: Think, piece: TensorDict, length: int
) -> tuple[Float[Tensor, " t"], Float[Tensor, " t"]]:
    """Loops, the mean over the units of a state, and one-step error of every step.

    Args:
        adapter: the domain.
        think: the core with a plan.
        piece: of one episode, `[1]`.
        length: transitions of it.
    """
    dynamics, observed = adapter.dynamics, cast(TensorDict, piece["observation"])
    actions = dynamics.actions.encode(cast(Tensor, piece["action"]))
    memory = dynamics.begin(1)
    loops: list[Tensor] = []
    errors: list[Tensor] = []
    for step in range(length):
        memory = dynamics.observe(memory, cast(TensorDict, observed[:, step]))
        memory, thought = dynamics.advance(think, memory, actions[:, step])
        prediction = dynamics.predict(thought.z)
        prediction.origin = Origin.stacked([Origin(memory.base, memory.age)])
        after = cast(TensorDict, observed[:, step + 1 : step + 2])
        errors.append(dynamics.errors(prediction, after)[0, 0].sqrt())
        loops.append(thought.result.depth.float().mean())
        memory = dynamics.imagined(memory, thought.z)
    return torch.stack(loops).cpu(), torch.stack(errors).cpu()

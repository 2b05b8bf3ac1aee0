"""How likely a text is, as a bound: estimates with a standard error, and of how many draws."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from loopverse_masked_diffusion.masking import FixedCount, Masking


@dataclass
class Bound:
    """An upper bound on the nats of a text, estimated.

    Attributes:
        nats: per token.
        error: standard error of `nats`; not a number for a single pass.
        draws: how many times a row was hidden.
    """

    nats: float
    error: float
    draws: int


def nelbo(
    log_probs: Callable[[Int[Tensor, "b t"]], Float[Tensor, "b t v"]],
    tokens: Int[Tensor, "b t"],
    mask_id: int,
    *,
    masking: Masking | None = None,
    passes: int = 1,
    seed: int = 0,
    present: Bool[Tensor, "b t"] | None = None,
) -> Bound:
    """The bound on a batch of texts, from `passes` independent draws of noise for the whole batch.

    The standard error is that over passes: strata within a pass make its rows depend on each other.

    Args:
        log_probs: of every token, given tokens with masks.
        tokens: the texts.
        mask_id: what stands for a hidden token.
        masking: how noise is drawn; default: fixed counts in strata over the batch.
        passes: independent draws.
        seed: of the noise.
        present: where there is a token; default: everywhere.

    Raises:
        ValueError: fewer than one pass, or a mask among the tokens.
    """
    if passes < 1:
        raise ValueError(f"an estimate needs at least 1 pass, got {passes}")
    if bool((tokens == mask_id).any()):
        raise ValueError(
            f"the text holds the token {mask_id}, which stands for a hidden one: give whole texts"
        )
    masking = masking or FixedCount()
    present = torch.ones_like(tokens, dtype=torch.bool) if present is None else present
    rng = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(passes):
        masked = masking.draw(present.cpu(), rng)
        places = masked.places.to(tokens.device)
        scores = log_probs(tokens.masked_fill(places, mask_id))
        nats = -scores.gather(-1, tokens[..., None])[..., 0]
        scaled = torch.where(places, nats, 0).double() * masked.scale.to(nats)[:, None]
        values.append(scaled.sum() / present.sum())
    estimates = torch.stack(values)
    error = float(estimates.std() / passes**0.5) if passes > 1 else float("nan")
    return Bound(float(estimates.mean()), error, passes * len(tokens))


class BatchError(Metric):
    """The standard error of a mean over units, from the spread of its batches.

    Rows of one batch share the strata of their noise and are not independent; batches are.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    sums: Tensor
    squares: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("sums", "squares", "batches"):
            self.add_state(name, torch.zeros((), dtype=torch.double), dist_reduce_fx="sum")

    def update(self, losses: Float[Tensor, "*units"], weights: Float[Tensor, "*units"]) -> None:
        """Count one batch; one without any weight does not count.

        Args:
            losses: of each unit.
            weights: how much each counts.
        """
        total = weights.sum()
        if total > 0:
            mean = ((losses * weights).sum() / total).double()
            self.sums += mean
            self.squares += mean**2
            self.batches += 1

    def compute(self) -> Float[Tensor, ""]:
        """The standard error; not a number below two batches."""
        if self.batches < 2:
            return torch.full((), float("nan"), device=self.sums.device)
        mean = self.sums / self.batches
        variance = (self.squares / self.batches - mean**2).clamp(min=0)
        return (variance / (self.batches - 1)).sqrt().float()

"""Choosing tokens by their scores, with randomness that belongs to rows and not to batches."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def choose(
    scores: Float[Tensor, "*places vocab"],
    draws: Float[Tensor, "*places"],
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Int[Tensor, "*places"]:
    """One token for each place, on the CPU; nothing is random but the draws.

    First the temperature, then the `top_k` most likely, then of these the most likely that together
    have `top_p`. The cumulative distribution, the likeliest token first, is inverted in float64, so
    that a token of probability 1e-12 is drawn once in 1e12 times. The argmax of scores plus Gumbel
    noise in float32 would never draw it (Zheng et al. 2409.02908): it samples at a lower
    temperature than it says.

    Args:
        scores: log-probabilities, normalised or not; -inf is never chosen.
        draws: uniform in [0, 1), float64.
        temperature: 0 takes the likeliest token, whatever the draw.
        top_k: 0: all.
        top_p: in (0, 1].
    """
    assert draws.dtype == torch.double, "a float32 draw never reaches the rare tokens"
    if temperature == 0:
        return scores.argmax(dim=-1).cpu()
    ranked, tokens = (scores.double().cpu() / temperature).sort(descending=True, stable=True)
    if top_k:
        ranked[..., top_k:] = -torch.inf
    mass = ranked.softmax(dim=-1)
    before = mass.cumsum(dim=-1) - mass
    mass = mass.masked_fill(before >= top_p, 0.0)
    reached = mass.cumsum(dim=-1)
    index = (reached <= draws[..., None].cpu() * reached[..., -1:]).sum(dim=-1, keepdim=True)
    return tokens.gather(-1, index)[..., 0]


def source(seed: int, number: int) -> torch.Generator:
    """The generator of row `number`, the same on every machine."""
    address = hashlib.sha256(f"sample {seed} {number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(address[:8], "big") >> 1)


class Draws:
    """Uniform numbers for the rows of a batch, each row from a generator of its own.

    A row that asks for the same numbers gets them in any batch, so that what is sampled for it does
    not depend on the rows beside it.

    Args:
        seed: with a row's number, the seed of its generator.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sources: dict[int, torch.Generator] = {}

    @classmethod
    def of(cls, generators: Sequence[torch.Generator]) -> "Draws":
        """From generators made elsewhere: row `n` uses the n-th."""
        draws = cls(seed=0)
        draws._sources = dict(enumerate(generators))
        return draws

    def uniform(self, rows: Int[Tensor, " b"], count: int) -> Float[Tensor, "b {count}"]:
        """The next `count` numbers in [0, 1) of each row, float64, on the device of `rows`."""
        numbers = [self._next(row, count) for row in rows.tolist()]
        return torch.stack(numbers).to(rows.device) if numbers else torch.zeros(0, count).double()

    def at(self, rows: Int[Tensor, " b"], places: Bool[Tensor, "b t"]) -> Float[Tensor, "b t"]:
        """One number for each true place, left to right, and 0 elsewhere.

        A row draws for its true places only: padding beside it changes nothing.
        """
        counts = places.sum(dim=1).tolist()
        numbers = [
            self._next(row, count)
            for row, count in zip(rows.tolist(), counts, strict=True)
            if count
        ]
        found = torch.zeros(places.shape, dtype=torch.double, device=places.device)
        if numbers:
            found[places] = torch.cat(numbers).to(places.device)
        return found

    def _next(self, row: int, count: int) -> Tensor:
        rng = self._sources.get(row)
        if rng is None:
            rng = self._sources[row] = source(self._seed, row)
        return torch.rand(count, generator=rng, dtype=torch.double, device=rng.device).cpu()

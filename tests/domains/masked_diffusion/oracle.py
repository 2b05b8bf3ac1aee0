"""A small Markov chain of which everything is known: the perfect model that samplers are tested with."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from loopverse.text import Draws
from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.denoising import denoise
from loopverse_masked_diffusion.sampling import Sampler

NUM_DRAWS = 20_000


@dataclass
class Chain:
    """Tokens 0 .. v-1, each drawn given the one before; as a denoiser, exact.

    Attributes:
        length: of a sequence.
        first: distribution of the first token.
        after: distribution of a token, a row for each token before it.
    """

    length: int
    first: Tensor = field(default_factory=lambda: torch.tensor([0.5, 0.3, 0.2]).double())
    after: Tensor = field(
        default_factory=lambda: torch.tensor(
            [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.45, 0.35, 0.2]]
        ).double()
    )
    depends_on_time: bool = False

    @property
    def mask_id(self) -> int:
        return len(self.first)

    def __call__(self, canvas: Canvas) -> Tensor:
        """Exact log p(x_i | visible tokens), with a column for the mask that must not be read."""
        probs = self.conditionals(canvas.tokens)
        mask = torch.full_like(probs[..., :1], 0.9)
        return torch.cat([probs, mask], dim=-1).log()

    def conditionals(self, tokens: Tensor) -> Tensor:
        """p(x_i | visible tokens) by forward-backward, `[b t v]`."""
        one_hot = torch.eye(self.mask_id + 1, self.mask_id).double()
        one_hot[-1] = 1
        seen = one_hot[tokens]  # [b t v]
        forward = [self.first * seen[:, 0]]
        for place in range(1, self.length):
            forward.append((forward[-1] @ self.after) * seen[:, place])
        backward = [torch.ones_like(forward[0])]
        for place in range(self.length - 1, 0, -1):
            backward.insert(0, (backward[0] * seen[:, place]) @ self.after.T)
        joint = torch.stack(forward, 1) * torch.stack(backward, 1)
        return joint / joint.sum(-1, keepdim=True)

    @property
    def joint(self) -> Tensor:
        """Probability of every sequence, in the order of `index`."""
        sequences = torch.tensor(list(itertools.product(range(self.mask_id), repeat=self.length)))
        steps = self.after[sequences[:, :-1], sequences[:, 1:]]
        return self.first[sequences[:, 0]] * steps.prod(1)

    def index(self, tokens: Tensor) -> Tensor:
        """The number of each sequence: its tokens read as digits."""
        assert int(tokens.max()) < self.mask_id, "a mask is left"
        powers = self.mask_id ** torch.arange(self.length - 1, -1, -1)
        return (tokens * powers).sum(1)

    def counts(self, sampler: Sampler, canvas: Canvas | None = None, seed: int = 0) -> Tensor:
        """How often the sampler makes each sequence; by default from nothing but masks."""
        start = Canvas.blank(NUM_DRAWS, self.length, self.mask_id) if canvas is None else canvas
        *_, end = denoise(self, start, sampler, Pooled(seed))
        return torch.bincount(self.index(end.tokens), minlength=self.mask_id**self.length)


class Pooled(Draws):
    """One generator for all rows, which is quick; that each has its own is tested elsewhere."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.rng = torch.Generator().manual_seed(seed)

    def uniform(self, rows: Tensor, count: int) -> Tensor:
        return torch.rand(len(rows), count, generator=self.rng, dtype=torch.double)

    def at(self, rows: Tensor, places: Tensor) -> Tensor:
        return self.uniform(rows, places.shape[1]) * places


def chi_square(counts: Tensor, expected: Tensor) -> float:
    """Pearson's statistic over its value at 1 %: above 1, `counts` are not from `expected`."""
    assert torch.allclose(expected.sum(), torch.ones(1).double())
    wanted = expected * counts.sum()
    assert float(wanted.min()) > 5, "too few draws for the test"
    statistic = float(((counts - wanted) ** 2 / wanted).sum())
    freedom = len(counts) - 1
    spread = 2 / (9 * freedom)
    # Wilson and Hilferty 1931; 2.326 is the 99 % quantile of a normal.
    return statistic / (freedom * (1 - spread + 2.3263 * spread**0.5) ** 3)


def total_variation(a: Tensor, b: Tensor) -> float:
    """Greatest difference of the probability of any event."""
    return float((a - b).abs().sum() / 2)


State = tuple[int, ...]
Plan = Callable[[State, Tensor], Iterable[tuple[float, State]]]
"""From a state and p(x_i | visible) `[t v]` to what happens with which probability: the action of
each place, 1 to reveal, -1 to mask again, 0 neither."""


def law(chain: Chain, plans: Iterable[Plan]) -> Tensor:
    """The exact distribution of a sampler's sequences, by enumeration of all that may happen."""
    states: dict[State, float] = {(chain.mask_id,) * chain.length: 1.0}
    for plan in plans:
        following: dict[State, float] = {}
        for state, weight in states.items():
            probs = chain.conditionals(torch.tensor([state]))[0]
            for chance, actions in plan(state, probs):
                for tokens, likelihood in _outcomes(state, actions, probs.tolist(), chain.mask_id):
                    following[tokens] = following.get(tokens, 0.0) + weight * chance * likelihood
        states = following
    found = torch.zeros(chain.mask_id**chain.length).double()
    for state, weight in states.items():
        found[chain.index(torch.tensor([state]))] += weight
    return found


def _outcomes(
    state: State, actions: State, probs: list[list[float]], mask_id: int
) -> Iterable[tuple[State, float]]:
    options = [
        list(enumerate(row)) if action > 0 else [(mask_id if action < 0 else token, 1.0)]
        for token, action, row in zip(state, actions, probs, strict=True)
    ]
    for choice in itertools.product(*options):
        likelihood = 1.0
        for _, share in choice:
            likelihood *= share
        yield tuple(token for token, _ in choice), likelihood


def at_random(
    state: State, mask_id: int, reveal: float, hide: float
) -> Iterable[tuple[float, State]]:
    """Each mask is revealed, and each token masked again, independently of the others."""
    chances = [(reveal, 1) if token == mask_id else (hide, -1) for token in state]
    for happens in itertools.product((False, True), repeat=len(state)):
        weight = 1.0
        for yes, (chance, _) in zip(happens, chances, strict=True):
            weight *= chance if yes else 1 - chance
        if weight:
            yield (
                weight,
                tuple(yes * action for yes, (_, action) in zip(happens, chances, strict=True)),
            )

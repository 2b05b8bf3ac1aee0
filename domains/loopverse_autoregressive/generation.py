"""Continuing texts token by token, many at a time, with a cache or without."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.distributions import Categorical

from loopverse.domain import SampleSettings, Think
from loopverse.nn import Attend, CoreInput, KVCache
from loopverse.text import Draws, Tokenizer, choose


class Reader(ABC):
    """Reads a batch of texts piece by piece and says what may come next.

    Args:
        embed: token ids `[b t]` to what the core reads, `[b t d]`.
        think: the core with a plan.
        predict: states `[b t d]` to distributions over tokens.
    """

    def __init__(
        self,
        embed: Callable[[Tensor], Tensor],
        think: Think,
        predict: Callable[[Tensor], Categorical],
    ) -> None:
        self._embed = embed
        self._think = think
        self._predict = predict

    @abstractmethod
    def read(
        self, tokens: Int[Tensor, "b t"], present: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b vocab"]:
        """Read on, and return the log-probabilities of the token after the last.

        Args:
            tokens: what follows on what was read before.
            present: false where there is padding: left of a text, nowhere else.
        """

    @abstractmethod
    def keep(self, rows: Int[Tensor, " n"]) -> None:
        """Go on with these texts only."""

    @torch.no_grad()
    def _next(
        self, tokens: Tensor, present: Tensor, positions: Tensor, cache: KVCache | None
    ) -> Tensor:
        attend = Attend(causal=True, padding=None if bool(present.all()) else present)
        inputs = CoreInput(self._embed(tokens), attend, positions.clamp(min=0), cache=cache)
        return self._predict(self._think(inputs).z[:, -1:]).logits[:, 0]


class CachedReader(Reader):
    """Reads every token once and keeps its keys and values, of every layer and loop."""

    def __init__(
        self,
        embed: Callable[[Tensor], Tensor],
        think: Think,
        predict: Callable[[Tensor], Categorical],
    ) -> None:
        super().__init__(embed, think, predict)
        self._cache = KVCache()
        self._counts: Tensor | int = 0  # tokens read of each text, [b 1]

    def read(self, tokens: Tensor, present: Tensor) -> Tensor:
        ends = self._counts + present.cumsum(dim=1)  # [b t]
        self._counts = ends[:, -1:]
        return self._next(tokens, present, ends - 1, self._cache)

    def keep(self, rows: Tensor) -> None:
        assert isinstance(self._counts, Tensor), "nothing was read"
        self._counts = self._counts[rows]
        self._cache.select(rows)


class WholeReader(Reader):
    """Reads everything again for every token: the slow way that the cached one must equal."""

    def __init__(
        self,
        embed: Callable[[Tensor], Tensor],
        think: Think,
        predict: Callable[[Tensor], Categorical],
    ) -> None:
        super().__init__(embed, think, predict)
        self._tokens: list[Tensor] = []
        self._present: list[Tensor] = []

    def read(self, tokens: Tensor, present: Tensor) -> Tensor:
        self._tokens.append(tokens)
        self._present.append(present)
        everything = torch.cat(self._present, dim=1)
        positions = everything.cumsum(dim=1) - 1
        return self._next(torch.cat(self._tokens, dim=1), everything, positions, None)

    def keep(self, rows: Tensor) -> None:
        self._tokens = [tokens[rows] for tokens in self._tokens]
        self._present = [present[rows] for present in self._present]


def generate(
    reader: Reader,
    prompts: Sequence[Int[Tensor, " _"]],
    tokenizer: Tokenizer,
    settings: SampleSettings,
    context: int,
    rows: Sequence[int] | None = None,
) -> Iterator[tuple[int, int]]:
    """Pairs of a prompt's number and its next token, as they are drawn.

    A text ends, each for itself, with `settings.length` tokens, at a separator (which is not
    returned), or when it fills the context. What a text becomes does not depend on those beside it.

    Args:
        reader: fresh.
        prompts: ids, at least one each, on the device of the model.
        tokenizer: for its separator and padding.
        settings: how many tokens and how to draw them.
        context: tokens that can be read, prompt included.
        rows: the numbers of the prompts, which choose their generators; default: 0, 1, ...

    Raises:
        ValueError: a prompt is longer than the context.
    """
    numbers = list(range(len(prompts)) if rows is None else rows)
    for number, prompt in zip(numbers, prompts, strict=True):
        if len(prompt) > context:
            raise ValueError(
                f"prompt {number + 1} has {len(prompt)} tokens, the context is {context}: "
                "shorten it, or train with a larger domain.context"
            )
    if not prompts:
        return
    draws = Draws(settings.seed)
    left = [min(settings.length, context - len(prompt) + 1) for prompt in prompts]
    device = prompts[0].device
    tokens, present = _padded(prompts, tokenizer.padding)
    while numbers:
        scores = reader.read(tokens, present)
        scores[:, tokenizer.padding] = -torch.inf
        chosen = choose(
            scores,
            draws.uniform(torch.tensor(numbers), 1)[:, 0],
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
        )
        going = []
        for index, token in enumerate(chosen.tolist()):
            left[index] -= 1
            if token != tokenizer.separator:
                yield numbers[index], token
                if left[index]:
                    going.append(index)
        if len(going) < len(numbers):
            numbers, left = ([items[index] for index in going] for items in (numbers, left))
            reader.keep(torch.tensor(going, dtype=torch.long, device=device))
        tokens = chosen.to(device)[going, None]
        present = torch.ones_like(tokens, dtype=torch.bool)


def _padded(prompts: Sequence[Tensor], padding: int) -> tuple[Tensor, Tensor]:
    """Prompts of different lengths as one batch, padded on the left, and where they are."""
    length = max(len(prompt) for prompt in prompts)
    tokens = torch.full((len(prompts), length), padding, device=prompts[0].device)
    present = torch.zeros_like(tokens, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        tokens[row, length - len(prompt) :] = prompt
        present[row, length - len(prompt) :] = True
    return tokens, present

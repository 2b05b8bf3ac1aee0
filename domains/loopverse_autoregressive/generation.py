"""Continuing texts token by token, many at a time, with a cache or without."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.distributions import Categorical

from loopverse.domain import SampleSettings, Think
from loopverse.nn import Attend, CoreInput, KVCache
from loopverse.text import Tokenizer
from loopverse_autoregressive.drawing import Continuations, padded


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

    All texts are read in step: a token is there when the deepest of its step is. What a text becomes does
    not depend on those beside it; see `Continuations` for when it ends.

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
    texts = Continuations(prompts, tokenizer, settings, context, rows)
    if not prompts:
        return
    going = list(range(len(prompts)))
    device = prompts[0].device
    tokens, present = padded(prompts, tokenizer.padding)
    while going:
        drawn = texts.draw(going, reader.read(tokens, present))
        for text, (token, _) in zip(going, drawn, strict=True):
            if token is not None:
                yield texts.numbers[text], token
        stay = [index for index, (_, more) in enumerate(drawn) if more]
        if len(stay) < len(going):
            going = [going[index] for index in stay]
            reader.keep(torch.tensor(stay, dtype=torch.long, device=device))
        tokens = torch.tensor([[drawn[index][0]] for index in stay], device=device)
        present = torch.ones_like(tokens, dtype=torch.bool)

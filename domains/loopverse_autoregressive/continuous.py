"""Continuing texts in places: each in a loop of its own, the next prompt where one has ended."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical

from loopverse.domain import SampleSettings, Think
from loopverse.nn import Attend, CoreInput, KVCache, Places
from loopverse.text import Tokenizer
from loopverse_autoregressive.drawing import Continuations, padded


class PlacesReader:
    """Reads texts, so many at once, and says what may come next as soon as it is known.

    Args:
        embed: token ids `[b t]` to what the core reads, `[b t d]`.
        think: the core with a plan.
        predict: states `[b t d]` to distributions over tokens.
        count: places.
        room: tokens of the longest text.
    """

    def __init__(
        self,
        embed: Callable[[Tensor], Tensor],
        think: Think,
        predict: Callable[[Tensor], Categorical],
        count: int,
        room: int,
    ) -> None:
        self._embed, self._think, self._predict = embed, think, predict
        self._count, self._places = count, Places(count, room)
        self._read: deque[tuple[KVCache, int, Tensor]] = deque()  # prompts that wait for a place
        self.free = list(range(count))

    @torch.no_grad()
    def begin(
        self, prompts: Sequence[Int[Tensor, " _"]], padding: int
    ) -> tuple[list[int], Float[Tensor, "n vocab"]]:
        """Give free places to the first of some prompts, and return those and what may come next there.

        Args:
            prompts: all that have not begun, in their order. As many as there are places are read at
                once, which is cheaper than one by one; those for which there is none yet wait.
            padding: the token to fill up with.
        """
        if not self._read:
            self._read.extend(self._prompts(prompts[: self._count], padding))
        places = self.free[: len(self._read)]
        self.free = self.free[len(places) :]
        scores = []
        for place in places:
            cache, row, score = self._read.popleft()
            self._places.admit(place, cache, row)
            scores.append(score)
        return places, torch.stack(scores)

    def _prompts(
        self, prompts: Sequence[Tensor], padding: int
    ) -> Iterator[tuple[KVCache, int, Tensor]]:
        """For each prompt its keys and values, a row of a cache, and the scores of its next token."""
        tokens, present = padded(prompts, padding)
        attend = Attend(causal=True, padding=None if bool(present.all()) else present)
        cache = KVCache()
        thought = self._think(CoreInput(self._embed(tokens), attend, cache=cache))
        scores = self._predict(thought.z[:, -1:]).logits[:, 0]
        yield from ((cache, row, score) for row, score in enumerate(scores))

    @torch.no_grad()
    def read(
        self, places: Sequence[int], tokens: Int[Tensor, " n"]
    ) -> tuple[list[int], Float[Tensor, "k vocab"]]:
        """Read on in some places until something is known: where, and what may come next there.

        Args:
            places: where there is one more token.
            tokens: these.
        """
        rows = torch.tensor(places, dtype=torch.long, device=tokens.device)
        inputs = CoreInput(self._embed(tokens[:, None]), Attend(), places=self._places.at(rows))
        thought = self._think(inputs)
        assert thought.result.rows is not None
        return thought.result.rows.tolist(), self._predict(thought.z).logits[:, 0]

    def end(self, place: int) -> None:
        """A text has ended, and its place is free."""
        self.free.append(place)


def generate_in_places(
    reader: PlacesReader,
    prompts: Sequence[Int[Tensor, " _"]],
    tokenizer: Tokenizer,
    settings: SampleSettings,
    context: int,
    rows: Sequence[int] | None = None,
) -> Iterator[tuple[int, int]]:
    """Pairs of a prompt's number and its next token, as they are drawn.

    Each text becomes what `generate` makes of it, and of it alone. Prompts begin in their order, as soon as
    there is a place; a text keeps its place until it ends, and gets a loop whenever the others do, so that
    none waits for more than those before it.

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
    waiting = deque(range(len(prompts)))
    who: dict[int, int] = {}  # the text in each place
    going_on: dict[int, int] = {}  # the token to be read next in each place that is not under way
    while waiting or who:
        if waiting and reader.free:
            places, scores = reader.begin([prompts[text] for text in waiting], tokenizer.padding)
            who.update((place, waiting.popleft()) for place in places)
        else:
            tokens = torch.tensor(list(going_on.values()), dtype=torch.long)
            places, scores = reader.read(list(going_on), tokens.to(prompts[0].device))
            going_on = {}
        drawn = texts.draw([who[place] for place in places], scores)
        for place, (token, more) in zip(places, drawn, strict=True):
            number = texts.numbers[who[place]]
            if token is not None and more:
                going_on[place] = token
            else:
                del who[place]
                reader.end(place)
            if token is not None:
                yield number, token

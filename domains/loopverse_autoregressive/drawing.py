"""What texts are continued with, and when they end: the same however they are read."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from loopverse.domain import SampleSettings
from loopverse.text import Draws, Tokenizer, choose


class Continuations:
    """Texts that grow token by token, each with draws and an end of its own.

    A text ends, each for itself, with `settings.length` tokens, at a separator (which is not part of it),
    or when it fills the context.

    Args:
        prompts: ids, at least one each.
        tokenizer: for its separator and padding.
        settings: how many tokens and how to draw them.
        context: tokens that can be read, prompt included.
        rows: the numbers of the prompts, which choose their generators; default: 0, 1, ...

    Raises:
        ValueError: a prompt is longer than the context.
    """

    def __init__(
        self,
        prompts: Sequence[Int[Tensor, " _"]],
        tokenizer: Tokenizer,
        settings: SampleSettings,
        context: int,
        rows: Sequence[int] | None = None,
    ) -> None:
        self.numbers = list(range(len(prompts)) if rows is None else rows)
        for number, prompt in zip(self.numbers, prompts, strict=True):
            if len(prompt) > context:
                raise ValueError(
                    f"prompt {number + 1} has {len(prompt)} tokens, the context is {context}: "
                    "shorten it, or train with a larger domain.context"
                )
        self._tokenizer, self._settings = tokenizer, settings
        self._draws = Draws(settings.seed)
        self._left = [min(settings.length, context - len(prompt) + 1) for prompt in prompts]

    def draw(
        self, texts: Sequence[int], scores: Float[Tensor, "n vocab"]
    ) -> list[tuple[int | None, bool]]:
        """The next token of each of some texts, and whether the text goes on after it; None: it has ended.

        Args:
            texts: by index among the prompts.
            scores: log-probabilities of the next token of each.
        """
        scores[:, self._tokenizer.padding] = -torch.inf
        numbers = torch.tensor([self.numbers[text] for text in texts])
        chosen = choose(
            scores,
            self._draws.uniform(numbers, 1)[:, 0],
            temperature=self._settings.temperature,
            top_k=self._settings.top_k,
            top_p=self._settings.top_p,
        )
        drawn = []
        for text, token in zip(texts, chosen.tolist(), strict=True):
            self._left[text] -= 1
            ended = token == self._tokenizer.separator
            drawn.append((None if ended else token, not ended and self._left[text] > 0))
        return drawn


def padded(
    prompts: Sequence[Int[Tensor, " _"]], padding: int
) -> tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"]]:
    """Prompts of different lengths as one batch, padded on the left, and where they are."""
    length = max(len(prompt) for prompt in prompts)
    tokens = torch.full((len(prompts), length), padding, device=prompts[0].device)
    present = torch.zeros_like(tokens, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        tokens[row, length - len(prompt) :] = prompt
        present[row, length - len(prompt) :] = True
    return tokens, present

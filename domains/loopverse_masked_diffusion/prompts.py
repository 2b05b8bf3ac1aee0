"""Prompts: text with holes, as tokens with masks."""

import re
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from loopverse.text import Tokenizer

HOLE = re.compile(r"<mask:([^>]*)>?")
HIDDEN = "\N{LIGHT SHADE}"
"""How a token that is still hidden is shown."""


def parse(
    prompt: str, tokenizer: Tokenizer, mask_id: int, length: int, context: int
) -> Int[Tensor, " t"]:
    """The tokens of a prompt, with `mask_id` where tokens are wanted.

    `<mask:40>` asks for 40 tokens at that place. A prompt without any asks for `length` tokens behind
    it, or for as many as the context has room for. An empty one begins a document.

    Raises:
        ValueError: a hole without a number, no room in the context, or text that has no UTF-8 form.
    """
    pieces: list[Tensor] = []
    end = 0
    for hole in HOLE.finditer(prompt):
        size = hole[1]
        if not (size.isdecimal() and size.isascii() and int(size) > 0 and hole[0].endswith(">")):
            raise ValueError(
                f"a hole in a prompt is written <mask:40>, with the number of tokens, got {hole[0]}"
            )
        pieces += [tokenizer.encode(prompt[end : hole.start()]), _masks(int(size), mask_id)]
        end = hole.end()
    given = tokenizer.encode(prompt[end:]) if prompt else torch.tensor([tokenizer.separator])
    if pieces:
        tokens = torch.cat([*pieces, given])
        num_masks = int((tokens == mask_id).sum())
        if len(tokens) > context:
            raise ValueError(
                f"the prompt has {len(tokens)} tokens, {num_masks} of them masks, the context is "
                f"{context}: shorten it, or train with a larger domain.context"
            )
        return tokens
    room = context - len(given)
    if room < 1:
        raise ValueError(
            f"the prompt has {len(given)} tokens and leaves no room in the context of {context}: "
            "shorten it, or train with a larger domain.context"
        )
    return torch.cat([given, _masks(min(length, room), mask_id)])


def has_holes(prompt: str) -> bool:
    """Whether a prompt is to be filled in, rather than continued."""
    return HOLE.search(prompt) is not None


def spelled(tokens: Sequence[int], tokenizer: Tokenizer) -> str:
    """The text of some tokens, those still hidden shown as shades."""
    hidden = HIDDEN.encode()
    pieces = tokenizer.pieces
    data = b"".join(pieces[token] if token < len(pieces) else hidden for token in tokens)
    return data.decode("utf-8", "replace")


def _masks(count: int, mask_id: int) -> Tensor:
    return torch.full((count,), mask_id)

"""Text shaded by loops: every token that was asked for, and characters of several tokens as one."""

import torch

from loopverse.exhibit import ShadedText
from loopverse.text import ByteTokenizer, shaded_by_loops

TOKENIZER = ByteTokenizer()


def shaded(tokens: torch.Tensor, loops: list[int], asked: list[bool]) -> ShadedText | None:
    given = (tokens, torch.tensor(loops), torch.tensor(asked))
    return shaded_by_loops(*given, TOKENIZER, title="t", note="")


def test_every_token_has_its_loops_and_a_given_one_has_none() -> None:
    found = shaded(TOKENIZER.encode("abc"), [1, 4, 2], [True, False, True])
    assert found == ShadedText("t", "", ["a", "b", "c"], [1, None, 2], "loops")


def test_tokens_of_one_character_are_one_piece_with_the_mean_of_their_loops() -> None:
    found = shaded(TOKENIZER.encode("aé"), [1, 2, 4], [True, True, True])
    assert found is not None
    assert (found.pieces, found.values) == (["a", "é"], [1, 3])


def test_the_end_of_a_document_is_marked_and_padding_is_not_there() -> None:
    tokens = torch.tensor([*b"a", TOKENIZER.separator, TOKENIZER.padding])
    found = shaded(tokens, [1, 3, 4], [True, True, False])
    assert found is not None
    assert (found.pieces, found.values) == (["a", "¶"], [1, 3])


def test_nothing_to_read_is_nothing_to_show() -> None:
    assert shaded(torch.tensor([TOKENIZER.padding]), [1], [False]) is None

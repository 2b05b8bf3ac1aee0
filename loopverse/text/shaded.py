"""Text shaded by the loops that its tokens got."""

from jaxtyping import Bool, Int
from torch import Tensor

from loopverse.exhibit import ShadedText
from loopverse.text.tokenizer import Tokenizer

END = "\N{PILCROW SIGN}"
"""How the end of a document is shown."""


def shaded_by_loops(
    tokens: Int[Tensor, " t"],
    loops: Int[Tensor, " t"],
    asked: Bool[Tensor, " t"],
    tokenizer: Tokenizer,
    *,
    title: str,
    note: str,
) -> ShadedText | None:
    """A text in pieces, a token each; None where there is nothing to read.

    Tokens that are only together a character are one piece, with the mean of their loops.

    Args:
        tokens: of the text, padding among them.
        loops: that each got.
        asked: which were to be predicted; the others have no shade.
        tokenizer: of the tokens.
        title: of the exhibit.
        note: of the exhibit.
    """
    pieces: list[str] = []
    values: list[float | None] = []
    stream = tokenizer.stream()
    held: list[float] = []  # loops of a character that is not complete yet
    for token, depth, counts in zip(tokens.tolist(), loops.tolist(), asked.tolist(), strict=True):
        if token == tokenizer.padding:
            continue
        held += [float(depth)] if counts else []
        text = END if token == tokenizer.separator else stream.push(token)
        if text:
            pieces.append(text)
            values.append(sum(held) / len(held) if held else None)
            held = []
    return ShadedText(title, note, pieces, values, "loops") if pieces else None

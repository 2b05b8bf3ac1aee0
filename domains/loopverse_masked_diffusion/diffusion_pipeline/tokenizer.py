"""Our tokenisers in the form that other people's pipelines call: batches of texts in, tensors out."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from loopverse.text import Tokenizer
from loopverse_masked_diffusion.prompts import spelled


class CallableTokenizer:
    """A tokeniser with the names that pipelines for masked diffusion know, and a mask.

    Texts of different lengths are padded on the left, so that what is generated follows the prompt.

    Args:
        tokenizer: ours.
        mask_id: the id that stands where a token is hidden.

    Attributes:
        mask_token_id: that id.
        eos_token_id: the separator of documents.
        pad_token_id: what fills places that hold no token.
        vocab_size: number of ids, the mask included.
    """

    def __init__(self, tokenizer: Tokenizer, mask_id: int) -> None:
        self.tokenizer = tokenizer
        self.mask_token_id = mask_id
        self.eos_token_id = tokenizer.separator
        self.pad_token_id = tokenizer.padding
        self.vocab_size = tokenizer.vocab_size + 1

    def __len__(self) -> int:
        return self.vocab_size

    def encode(self, text: str) -> list[int]:
        """The ids of a text, nothing added."""
        return self.tokenizer.encode(text).tolist()

    def __call__(
        self, text: str | Sequence[str], return_tensors: str = "pt", padding: bool = False
    ) -> dict[str, Int[Tensor, "b t"]]:
        """`input_ids` and `attention_mask` of one text or of several.

        Raises:
            ValueError: something else than tensors is asked for, or several lengths without padding.
        """
        if return_tensors != "pt":
            raise ValueError(f'return_tensors must be "pt", got {return_tensors!r}')
        rows = [self.encode(each) for each in ([text] if isinstance(text, str) else text)]
        length = max((len(row) for row in rows), default=0)
        if not padding and any(len(row) < length for row in rows):
            raise ValueError("texts of different lengths are one batch only with padding=True")
        ids = torch.full((len(rows), length), self.pad_token_id)
        present = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, length - len(row) :] = torch.tensor(row, dtype=torch.long)
            present[number, length - len(row) :] = 1
        return {"input_ids": ids, "attention_mask": present}

    def decode(
        self, ids: Iterable[int] | Int[Tensor, " t"], skip_special_tokens: bool = False
    ) -> str:
        """The text of some ids. Masks are left out with the other special ids, or shown as shades."""
        numbers = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        if skip_special_tokens:
            numbers = [number for number in numbers if number != self.mask_token_id]
        return spelled(numbers, self.tokenizer)

    def batch_decode(
        self, rows: Iterable[Iterable[int] | Tensor], skip_special_tokens: bool = False
    ) -> list[str]:
        """The texts of several rows of ids."""
        return [self.decode(row, skip_special_tokens) for row in rows]

"""How varied texts are: without it, a low perplexity may be the same word again and again."""

import math
import re
from collections import Counter
from collections.abc import Sequence

LENGTHS = (1, 2, 3)
"""The n of distinct-n."""


def byte_entropy(text: str) -> float:
    """Entropy of the distribution of the bytes (UTF-8) of a text, in bits per byte; at most 8.

    Byte frequencies alone: a text that repeats a few characters is low, whatever their order. It is
    that of the sample, not of its source, so that short texts are lower: compare texts of one length.
    """
    data = text.encode("utf-8", "surrogatepass")
    shares = [count / len(data) for count in Counter(data).values()]
    return -sum(share * math.log2(share) for share in shares) + 0.0


def distinct(texts: Sequence[str], n: int) -> float:
    """Different runs of `n` words over all such runs, in all texts together; in (0, 1], 1 is varied.

    A word is a run of letters, digits and underscores, or any other single character that is not white
    space. Not a number where no text has `n` words. Falls with the amount of text: compare equal
    amounts. Source: Li et al. 2016 (1510.03055), distinct-1 and distinct-2.
    """
    runs: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = re.findall(r"\w+|[^\w\s]", text)
        runs.update(zip(*(words[start:] for start in range(n)), strict=False))
    return len(runs) / runs.total() if runs else math.nan

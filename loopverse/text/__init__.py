"""Text for domains: corpora, tokenisers, windows over token ids, and what every text domain shares."""

from loopverse.text.cache import TokenisedCorpus, learn_bpe, tokenise
from loopverse.text.choice import Draws, choose, source
from loopverse.text.corpus import Corpus, Document, Limited
from loopverse.text.domain import TextConfig, TextDomain
from loopverse.text.metrics import BitsPerByte
from loopverse.text.prediction import TokenDistribution
from loopverse.text.rows import DatasetRows
from loopverse.text.shaded import shaded_by_loops
from loopverse.text.sources import Files, open_corpus, stdlib
from loopverse.text.store import cache_root
from loopverse.text.tokenizer import (
    BPETokenizer,
    ByteTokenizer,
    TextStream,
    Tokenizer,
    load_tokenizer,
)
from loopverse.text.windows import TokenWindows

__all__ = [
    "BPETokenizer",
    "BitsPerByte",
    "ByteTokenizer",
    "Corpus",
    "DatasetRows",
    "Document",
    "Draws",
    "Files",
    "Limited",
    "TextConfig",
    "TextDomain",
    "TextStream",
    "TokenDistribution",
    "TokenWindows",
    "TokenisedCorpus",
    "Tokenizer",
    "cache_root",
    "choose",
    "learn_bpe",
    "load_tokenizer",
    "open_corpus",
    "shaded_by_loops",
    "source",
    "stdlib",
    "tokenise",
]

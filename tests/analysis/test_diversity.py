"""Variety of texts, counted by hand."""

import math

import pytest

from loopverse.analysis.diversity import byte_entropy, distinct


@pytest.mark.parametrize(
    ("text", "bits"),
    [("", 0.0), ("aaaa", 0.0), ("abab", 1.0), ("abcd", 2.0), ("aaab", 0.8112781), ("é", 1.0)],
)
def test_entropy_is_that_of_the_bytes(text: str, bits: float) -> None:
    assert byte_entropy(text) == pytest.approx(bits)


def test_distinct_counts_runs_of_words_over_all_texts() -> None:
    texts = ["a b a b", "a  b\n(c)"]  # a b a b | a b ( c )
    assert distinct(texts, 1) == pytest.approx(5 / 9)
    assert distinct(texts, 2) == pytest.approx(5 / 7)  # ab ba ab | ab b( (c c)
    assert distinct(texts, 3) == pytest.approx(5 / 5)  # aba bab | ab( b(c (c)


def test_a_word_again_and_again_is_not_varied_and_no_words_tell_nothing() -> None:
    assert distinct(["the " * 50], 2) == pytest.approx(1 / 49)
    assert math.isnan(distinct(["one", ""], 2))

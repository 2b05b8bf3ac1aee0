"""Walks with one thing wrong each: what the checks of `loopverse.testing` must find."""

from broken import data, declaration, leakage, learning, prediction, use
from broken.planted import BROKEN, Broken

__all__ = ["BROKEN", "Broken", "data", "declaration", "leakage", "learning", "prediction", "use"]

"""The autoregressive domain: text, one token after another."""

from loopverse_autoregressive.adapter import Autoregressive, AutoregressiveConfig
from loopverse_autoregressive.generation import CachedReader, Reader, WholeReader, generate
from loopverse_autoregressive.metrics import BitsPerByte
from loopverse_autoregressive.prediction import TokenDistribution

__all__ = [
    "Autoregressive",
    "AutoregressiveConfig",
    "BitsPerByte",
    "CachedReader",
    "Reader",
    "TokenDistribution",
    "WholeReader",
    "generate",
]

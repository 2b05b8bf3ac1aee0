"""The autoregressive domain: text, one token after another."""

from loopverse_autoregressive.adapter import Autoregressive, AutoregressiveConfig
from loopverse_autoregressive.generation import CachedReader, Reader, WholeReader, generate

__all__ = [
    "Autoregressive",
    "AutoregressiveConfig",
    "CachedReader",
    "Reader",
    "WholeReader",
    "generate",
]

"""The autoregressive domain: text, one token after another."""

from loopverse_autoregressive.adapter import Autoregressive, AutoregressiveConfig
from loopverse_autoregressive.continuous import PlacesReader, generate_in_places
from loopverse_autoregressive.generation import CachedReader, Reader, WholeReader, generate
from loopverse_autoregressive.settings import AutoregressiveSampling

__all__ = [
    "Autoregressive",
    "AutoregressiveConfig",
    "AutoregressiveSampling",
    "CachedReader",
    "PlacesReader",
    "Reader",
    "WholeReader",
    "generate",
    "generate_in_places",
]

"""Walks with one thing wrong each, and the check and the words that must say so."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Broken:
    """A planted mistake.

    Attributes:
        adapter: the class that makes it.
        check: the one check that finds it.
        words: parts of the message.
    """

    adapter: type
    check: str
    words: tuple[str, ...]


BROKEN: list[Broken] = []


def found_by(check: str, *words: str) -> Callable[[type], type]:
    """Register a class as the mistake that `check`, and no other, finds in these words."""

    def register(adapter: type) -> type:
        BROKEN.append(Broken(adapter, check, words))
        return adapter

    return register

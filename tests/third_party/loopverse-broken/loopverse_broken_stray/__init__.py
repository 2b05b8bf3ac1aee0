"""A plug-in whose class is not a domain, and whose commands are none."""

STONE = "not a function"


class Stray:
    """Not a DomainAdapter."""


def silent(arguments: list[str]) -> None:
    """Forget to say how it went."""

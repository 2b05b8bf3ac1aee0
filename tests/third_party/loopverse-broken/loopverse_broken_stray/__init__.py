"""A plug-in whose class is not a domain."""


class Stray:
    """Not a DomainAdapter."""

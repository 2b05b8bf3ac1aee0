"""Seeds with an address: what is drawn for one thing does not depend on what is drawn beside it."""

import hashlib


def seed_of(*address: int | str) -> int:
    """A seed that follows from its address, of 31 bits, as much as Gymnasium and numpy both take."""
    digest = hashlib.sha256(" ".join(map(str, address)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1

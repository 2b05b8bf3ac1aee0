"""Randomness with an address: every draw in training follows from (seed, step, name) alone.

No state of a generator is ever saved, so a resumed run draws what the uninterrupted one would have.
"""

import hashlib
import random

import numpy as np
import torch


def derive(seed: int, step: int, name: str) -> int:
    """A 63-bit seed for one use of randomness; unrelated for any two different addresses."""
    digest = hashlib.sha256(f"{seed}/{step}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, step: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for the draws called `name` at `step`.

    Args:
        seed: the run's seed.
        step: training step, or number of the batch.
        name: what is drawn ("depth", "prepare/0"); include the rank where ranks must differ.
        device: where the generator draws. CPU and accelerator streams differ.
    """
    return torch.Generator(device).manual_seed(derive(seed, step, name))


def seed_everything(
    seed: int, step: int, name: str = "global", device: torch.device | str = "cpu"
) -> None:
    """Seed the global generators of Python, NumPy and torch (on the CPU and on `device`).

    Loopverse itself never draws from them; dropout in a stranger's adapter does.
    """
    value = derive(seed, step, name)
    random.seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002  strangers' code draws from the global generator
    # Not torch.manual_seed, which takes half a millisecond to note the seed for absent devices.
    torch.default_generator.manual_seed(value)
    if torch.device(device).type != "cpu":
        torch.get_device_module(device).manual_seed(value)

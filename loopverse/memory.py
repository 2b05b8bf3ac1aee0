"""Memory of the CPU: what is freed in one loop is used again in the next."""

import ctypes
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, from malloc.h
MOST_KEPT = 2**31 - 1
LARGEST_ON_THE_HEAP = 32 * 2**20  # the most that glibc takes


def keep_freed_memory() -> bool:
    """Ask the C library not to hand freed memory back to the system, for this process.

    Every loop makes and frees tensors of the same few sizes. By default glibc gives large ones back at
    once, and the system clears their pages anew in the next loop: 5 % of a training step on a CPU, and
    more where units leave the loop. The memory in use at most stays the same. The command line calls
    this; a program of your own may. Measured in `docs/benchmarks.md`.

    Returns:
        Whether it was done: not where the C library is another, or the environment has settings of its own.
    """
    own = "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ)
    if own or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(TRIM_THRESHOLD, MOST_KEPT) and mallopt(MMAP_THRESHOLD, LARGEST_ON_THE_HEAP))

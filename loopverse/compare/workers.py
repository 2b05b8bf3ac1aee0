"""Processes that a launcher started for a study end when the study does, and save what they are at."""

from __future__ import annotations

import os
import signal
import threading
import time

SECONDS = 1.0
"""How often a process looks whether the one that started it is still there."""
_watched: set[int] = set()


def end_with(parent: int) -> None:
    """From now on, end when `parent` does, however that ends; a launcher's processes would go on unseen.

    A run that is being trained is told by SIGTERM, and saves. Nothing happens in `parent` itself, nor in a process
    that another one started, as on another machine.
    """
    if os.getppid() == parent and parent not in _watched:
        _watched.add(parent)
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    elif parent in _watched and os.getppid() != parent:
        os._exit(1)  # the next of its jobs, which nobody waits for


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    while signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # until the run is saved
        time.sleep(SECONDS)
    os._exit(1)

"""Freed memory is kept, so that the next loop touches no new page."""

import os
import platform
import subprocess
import sys

import pytest

from loopverse.memory import keep_freed_memory

LOOPS = """
import resource
from loopverse.memory import keep_freed_memory
assert keep_freed_memory()
import torch
torch.set_num_threads(1)
def loop():
    x = torch.ones(2**18)
    for _ in range(8):
        x = (torch.cat([x, x, x]) * 2)[: 2**18].clone()
for _ in range(10):
    loop()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    loop()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_loops_touch_no_new_pages() -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", LOOPS], env=clean, check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 2_000  # without, some hundred thousand


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_settings_of_ones_own_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()

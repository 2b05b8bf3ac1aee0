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
if {keep}:
    assert keep_freed_memory()
import torch
def loop():
    tensors = [torch.ones(3 * 2**18) for _ in range(8)]  # 3 MB each
for _ in range(3):
    loop()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    loop()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")


def new_pages(keep: bool) -> int:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    code = [sys.executable, "-c", LOOPS.format(keep=keep)]
    return int(subprocess.run(code, env=clean, check=True, capture_output=True, text=True).stdout)


@glibc
def test_loops_touch_no_new_pages() -> None:
    assert new_pages(keep=True) < 100
    assert new_pages(keep=False) > 10_000


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_settings_of_ones_own_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()

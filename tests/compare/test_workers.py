"""Processes of a launcher end when the study that they work for is gone."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import loopverse.compare.workers

CHILD = """
import importlib.util, os, signal, sys, time
spec = importlib.util.spec_from_file_location("workers", sys.argv[1])
workers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(workers)
workers.SECONDS = 0.02
came = []
if sys.argv[2] == "training":
    signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
workers.end_with(int(sys.argv[3]) or os.getppid())
print(os.getpid(), flush=True)
while not came:
    time.sleep(0.01)
time.sleep(0.2)
print("saved", flush=True)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
time.sleep(60)
"""
PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', *sys.argv[1:]]); time.sleep(60)"


@pytest.mark.parametrize("doing", ["nothing", "training"])
def test_a_process_ends_with_the_one_that_started_it_and_saves_before(doing: str) -> None:
    source = str(Path(loopverse.compare.workers.__file__))
    words = [sys.executable, "-S", "-c", PARENT, CHILD, source, doing, "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().strip().isdigit()
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.read() == (
            "saved\n" if doing == "training" else ""
        )  # all have closed it


def test_a_process_that_somebody_else_started_goes_on() -> None:
    source = str(Path(loopverse.compare.workers.__file__))
    words = [sys.executable, "-S", "-c", CHILD, source, "nothing", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        time.sleep(0.2)
        assert other.poll() is None
        other.kill()

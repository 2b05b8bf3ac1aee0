"""The store of built things: one builder, whoever asks."""

import subprocess
import sys
from pathlib import Path

from loopverse.text import store

ASK = """
import runpy, sys, time
from pathlib import Path
source, note, me, other = sys.argv[1:]
def build(folder):
    with open(note, "a") as file:
        file.write("built ")
    time.sleep(0.3)
    (folder / "result").write_text("whole")
Path(me).touch()
while not Path(other).exists():
    time.sleep(0.01)
folder = runpy.run_path(source)["entry"]("things", "key", build)
print((folder / "result").read_text())
"""


def test_two_processes_that_ask_at_once_build_once_and_both_read(tmp_path: Path) -> None:
    note, ready = tmp_path / "note", [str(tmp_path / name) for name in ("first", "second")]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ASK, store.__file__, str(note), *order],
            stdout=subprocess.PIPE,
            text=True,
        )
        for order in (ready, ready[::-1])
    ]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["whole\n"] * 2
    assert [process.returncode for process in processes] == [0, 0]
    assert note.read_text() == "built "

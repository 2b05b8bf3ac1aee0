"""Energy that a machine says it has used: processors through powercap, NVIDIA's accelerators through NVML."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from loopverse.training.files import read_json, write_json

POWERCAP = Path("/sys/class/powercap")


@dataclass
class Meter:
    """The counters of this machine that can be read.

    They count the whole machine: with several runs at a time, each is charged for all of them.

    Attributes:
        root: where the kernel shows its counters.
        begun: what they said when `start` was called, in joules, by name.
    """

    root: Path = POWERCAP
    begun: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        """Begin to measure."""
        self.begun = {**self._processors(), **_accelerators()}

    def joules(self) -> float:
        """Used since `start`; not a number where nothing can be read."""
        now, used = {**self._processors(), **_accelerators()}, 0.0
        if not self.begun or now.keys() != self.begun.keys():
            return math.nan
        for name, value in now.items():
            used += value - self.begun[name]
            if value < self.begun[name]:  # the counter began anew
                used += self._range(name)
        return used

    def _processors(self) -> dict[str, float]:
        """Counters of whole packages; those of their parts are contained in them."""
        found = {}
        for path in sorted(self.root.glob("intel-rapl:*")):
            if path.name.count(":") == 1:
                try:
                    found[path.name] = int((path / "energy_uj").read_text()) / 1e6
                except (OSError, ValueError):  # often only for root
                    continue
        return found

    def _range(self, name: str) -> float:
        try:
            return int((self.root / name / "max_energy_range_uj").read_text()) / 1e6
        except (OSError, ValueError):
            return math.nan


def add_joules(path: Path, joules: float, anew: bool) -> None:
    """Note what a run used, beside what it used before it was stopped.

    A run that goes on and has no note was killed before it could leave one: what it used is not known.

    Args:
        path: the note.
        joules: used now.
        anew: whether the run began now.
    """
    before = 0.0 if anew else read_joules(path)
    if math.isfinite(before + joules):
        write_json(path, {"joules": before + joules})
    else:
        path.unlink(missing_ok=True)


def read_joules(path: Path) -> float:
    """What a run used; not a number where it is not known."""
    return float(read_json(path)["joules"]) if path.exists() else math.nan


def _accelerators() -> dict[str, float]:
    """Energy of NVIDIA's accelerators since their driver was loaded, where `pynvml` is installed."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]  not needed, used where it is
    except ImportError:
        return {}
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
        return {
            f"nvml:{n}": pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
            for n, handle in enumerate(handles)
        }
    except pynvml.NVMLError:
        return {}

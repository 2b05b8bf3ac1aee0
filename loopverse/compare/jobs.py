"""Runs of a study: what each is, where it lies, and what became of it."""

from __future__ import annotations

import hashlib
import importlib.util
import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from loopverse import registry
from loopverse.compare.study import Arm, Group
from loopverse.training import RunFolder
from loopverse.training.compose import compose
from loopverse.training.config import TrainConfig
from loopverse.training.files import read_json, write_json

RUNS = "runs"
LEARNING = ("depth", "nn", "training", "text", "domain.py", "model.py")
"""Rooms of `loopverse` that decide what a run learns."""


@dataclass
class Job:
    """A run of a study.

    Attributes:
        group: what it is compared with.
        arm: which kind of depth.
        seed: of the run.
        rate: its learning rate, as a multiple of the domain's own.
        steps: of the run.
        trial: whether it only tries a learning rate.
        folder: of the study.
        words: what is typed after `loopverse train`.
        config: what it comes to.
    """

    group: Group
    arm: Arm
    seed: int
    rate: float
    steps: int
    trial: bool
    folder: Path
    words: list[str]
    config: TrainConfig

    @property
    def name(self) -> str:
        """The name of its run folder, by its settings and the code: the same run is never made twice."""
        settings = asdict(self.config)
        settings.pop("name")
        settings.pop("runs")
        content = OmegaConf.to_yaml(OmegaConf.create(settings), sort_keys=True)
        return hashlib.sha256((content + code_version(self.group.domain)).encode()).hexdigest()[:16]

    @property
    def path(self) -> Path:
        """Its run folder."""
        return self.folder / RUNS / self.name

    @property
    def finished(self) -> bool:
        """Whether all of its steps are done."""
        return (self.path / "summary.json").exists()

    @property
    def failure(self) -> str:
        """Why it failed, when it was last tried; empty if it did not."""
        path = self._failed
        return str(read_json(path)["reason"]) if path.exists() else ""

    @property
    def value(self) -> float:
        """The headline metric at the end; not a number where there is none."""
        if not self.finished:
            return math.nan
        value = (RunFolder.open(self.path).summary or {}).get("value")
        return math.nan if value is None else float(value)

    @property
    def line(self) -> list[str]:
        """The words that a launcher is given."""
        return [*self.words, f"runs={self.folder / RUNS}", f"name={self.name}"]

    @property
    def energy(self) -> Path:
        """Where it is noted what it used."""
        return self.folder / RUNS / f"{self.name}.energy.json"

    @property
    def _failed(self) -> Path:
        return self.folder / RUNS / f"{self.name}.failed.json"

    def __str__(self) -> str:
        return f"{self.group}, {self.arm}, seed {self.seed}, rate x {self.rate:g}"


def job(
    folder: Path,
    group: Group,
    arm: Arm,
    words: list[str],
    *,
    seed: int,
    rate: float,
    share: float = 1,
) -> Job:
    """A run of an arm.

    Args:
        folder: of the study.
        group: what it is compared with.
        arm: which kind of depth.
        words: of the arm, `Study.words`.
        seed: of the run.
        rate: multiple of the learning rate that the words come to.
        share: multiple of the steps that they come to.

    Raises:
        ValueError: settings that no run can have.
    """
    own = compose(words)
    steps = max(1, round(own.training.steps * share))
    learning_rate = rate * vars(own.optimizer)["lr"]
    more = [f"seed={seed}", f"optimizer.lr={learning_rate:.6g}", f"training.steps={steps}"]
    config = compose([*words, *more])
    return Job(group, arm, seed, rate, steps, share < 1, folder, [*words, *more], config)


def note_failure(runs: Path, name: str, reason: str) -> None:
    """Write down why a run failed; `""`: forget it."""
    path = runs / f"{name}.failed.json"
    if reason:
        write_json(path, {"reason": reason})
    else:
        path.unlink(missing_ok=True)


@cache
def code_version(domain: str) -> str:
    """A digest of the code and the settings that decide what a run of a domain learns."""
    package = Path(__file__).resolve().parents[1]
    places = [package / name for name in LEARNING]
    point = registry.domain_entry_points().get(domain)
    spec = importlib.util.find_spec(point.module.split(".")[0]) if point else None
    if spec is not None:
        places += [Path(place) for place in spec.submodule_search_locations or [spec.origin or ""]]
    digest = hashlib.sha256()
    for place in places:
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        for file in files:
            digest.update(file.read_bytes())
    return digest.hexdigest()

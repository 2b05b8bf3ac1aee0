"""The run folder: everything a run leaves behind, in a form that survives being killed.

run.json          format, versions, precision: written last, so it marks a complete folder
config.yaml       every setting
choices.yaml      which option of every group was picked
metrics.jsonl     one row per logged step and per evaluation (loopverse.training.rows)
checkpoints/      see loopverse.training.checkpoint
tensorboard/      the same figures for TensorBoard
summary.json      the outcome, once training is done
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from torch import nn
from torch.optim import Optimizer

from loopverse.domain import DomainAdapter
from loopverse.errors import UserError
from loopverse.training import checkpoint
from loopverse.training.checkpoint import DamagedError, Progress
from loopverse.training.config import TrainConfig, load_config, save_config
from loopverse.training.ema import Average
from loopverse.training.files import (
    discard,
    new_folder,
    read_json,
    refusals_explained,
    sweep,
    write_json,
)
from loopverse.training.rows import Row, Rows

FORMAT = 1
"""Version of the layout; a folder of another version is refused, not guessed at."""


@dataclass(frozen=True)
class RunFolder:
    """A run folder on disk. `create` and `open` check it; the constructor does not.

    Attributes:
        path: where it is.
    """

    path: Path

    @classmethod
    def create(cls, path: Path | str, config: TrainConfig, facts: Row) -> "RunFolder":
        """A new run folder.

        Args:
            path: a name that is free, or an empty folder.
            config: what the run computes.
            facts: what was settled at the start and must hold on resume (precision, versions).

        Raises:
            ValueError: the folder is taken, or cannot be written.
        """
        run = cls(Path(path))
        with refusals_explained(run.path):
            run.check_free()
            run.checkpoints_path.mkdir(parents=True, exist_ok=True)
            save_config(config, run.path)
            write_json(run.path / "run.json", {"format": FORMAT, **facts})
        return run

    @classmethod
    def open(cls, path: Path | str) -> "RunFolder":
        """A run folder that exists and that this version of Loopverse can read.

        Raises:
            ValueError: missing, not a run, half-written, or of another format.
        """
        run = cls(Path(path))
        if not run.path.exists():
            raise UserError(f"there is no run folder {run.path}")
        if not run._complete:
            if (run.path / "choices.yaml").exists():
                raise UserError(
                    f"{run.path} is half-written: its run was stopped before it was set up and "
                    "holds no training; remove it and start again"
                )
            raise UserError(f"{run.path} is not a run folder: it has no run.json")
        found = run.facts.get("format")
        if found != FORMAT:
            raise UserError(
                f"{run.path} has format {found} and this Loopverse reads format {FORMAT}: "
                f"use Loopverse {run.facts.get('loopverse', 'of the version')} that wrote it"
            )
        return run

    def check_free(self) -> None:
        """Refuse a name that is taken.

        Raises:
            UserError: says by what.
        """
        if not self.path.is_dir() or not any(self.path.iterdir()):
            return
        if self._complete:
            raise UserError(
                f"{self.path} holds a run already: continue it with `loopverse train "
                f"run={self.path}`, or choose another name with name=..."
            )
        raise UserError(
            f"{self.path} exists and is not a run folder: remove it, or choose another name with "
            "name=..."
        )

    @property
    def facts(self) -> Row:
        """What `run.json` says: format, versions, precision, device."""
        return read_json(self.path / "run.json")

    @property
    def summary(self) -> Row | None:
        """The outcome, `summary.json`; None until all steps are done."""
        path = self.path / "summary.json"
        return read_json(path) if path.exists() else None

    @property
    def config(self) -> TrainConfig:
        """The configuration of the run."""
        return load_config(self.path)

    @property
    def rows(self) -> Rows:
        """The rows of `metrics.jsonl`."""
        return Rows(self.path / "metrics.jsonl")

    @property
    def checkpoints_path(self) -> Path:
        """The folder that holds the checkpoints."""
        return self.path / "checkpoints"

    @property
    def assets_path(self) -> Path:
        """The folder of what the domain saved for itself."""
        return self.path / "assets"

    @property
    def _complete(self) -> bool:
        return (self.path / "run.json").is_file()

    def checkpoints(self) -> list[Path]:
        """Checkpoint folders, oldest first; not verified."""
        return sorted(self.checkpoints_path.glob(f"{checkpoint.PREFIX}[0-9]*"))

    def latest(self) -> Path | None:
        """The newest checkpoint, not verified; None where none was saved yet."""
        found = self.checkpoints()
        return found[-1] if found else None

    @contextmanager
    def remedied(self) -> Iterator[None]:
        """Inside, the error of a damaged checkpoint also says which one is good and how to use it."""
        try:
            yield
        except DamagedError as error:
            error.args = (f"{error}; {self._remedy()}",)
            raise

    def best(self) -> Path | None:
        """The checkpoint with the lowest headline metric; None where none was evaluated."""
        values = {folder: checkpoint.read_progress(folder).value for folder in self.checkpoints()}
        known = {folder: value for folder, value in values.items() if value is not None}
        return min(known, key=known.__getitem__, default=None)

    def at(self, which: str | int) -> Path:
        """The checkpoint called "best" or "last", or the one at a step; not verified.

        Without an evaluation "best" is the last one.

        Raises:
            ValueError: there is no such checkpoint.
        """
        found = self.checkpoints()
        if not found:
            raise UserError(f"{self.path} holds no checkpoint yet: train it first")
        if which == "last":
            return found[-1]
        if which == "best":
            return self.best() or found[-1]
        steps = [int(path.name.removeprefix(checkpoint.PREFIX)) for path in found]
        if str(which).isdecimal() and int(which) in steps:
            return found[steps.index(int(which))]
        raise UserError(
            f"{self.path} has no checkpoint {which!r}: "
            f"expected best, last or one of the steps {', '.join(map(str, steps))}"
        )

    def save(
        self,
        progress: Progress,
        keep: int,
        model: nn.Module,
        optimizers: Sequence[Optimizer] = (),
        average: Average | None = None,
    ) -> Path:
        """Save a checkpoint, then remove all but the `keep` newest and the best."""
        self.rows.sync()
        folder = self.checkpoints_path / f"{checkpoint.PREFIX}{progress.step:08d}"
        checkpoint.save(folder, progress, model, optimizers, average)
        kept = {*self.checkpoints()[-keep:], self.best()}
        for old in self.checkpoints():
            if old not in kept:
                discard(old)
        return folder

    def save_assets(self, adapter: DomainAdapter) -> None:
        """Let the domain write what it needs in use, unless it is there already."""
        if not self.assets_path.exists():
            with new_folder(self.assets_path) as folder:
                adapter.save_assets(folder)

    def load_assets(self, adapter: DomainAdapter) -> None:
        """Give the domain back what it wrote; a run that was killed early may have nothing."""
        if self.assets_path.exists():
            adapter.load_assets(self.assets_path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While the run is trained; a process that dies lets go.

        Raises:
            UserError: another process holds it.
        """
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout:
            raise UserError(
                f"{self.path} is being trained by another process: wait for it, or stop it first"
            ) from None

    def rewind(self, step: int) -> None:
        """Forget the rows after `step`, and what writers that died left behind."""
        sweep(self.path)
        sweep(self.checkpoints_path)
        self.rows.rewind(step)

    def _remedy(self) -> str:
        good, damaged = [], []
        for folder in self.checkpoints():
            try:
                checkpoint.verify(folder)
                good.append(folder.name)
            except DamagedError:
                damaged.append(folder.name)
        if not good:
            return "no checkpoint of this run is good: start a new run"
        return f"{good[-1]} is good: remove {' and '.join(damaged)} to use it"

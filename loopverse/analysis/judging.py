"""A judge: a trained run that says how likely it finds texts that another model made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from loopverse.domain import DomainAdapter
from loopverse.errors import UserError
from loopverse.training import LoadedRun, RunFolder, load
from loopverse.training.evaluation import SEED
from loopverse.training.seeding import stream


@dataclass
class Verdict:
    """What a judge says of one text.

    Attributes:
        nats: minus the logarithm of its probability.
        tokens: units that this is the sum over.
    """

    nats: float
    tokens: float


@dataclass
class Judge:
    """A run whose domain reads texts, with the depth that it was trained for.

    Attributes:
        run: as it was loaded.
    """

    run: LoadedRun

    @classmethod
    def load(
        cls, path: str | Path, of: RunFolder, device: torch.device | str | None = None
    ) -> "Judge":
        """A judge for what another run makes.

        Args:
            path: the judge's run folder.
            of: the run to be judged.
            device: where to put the judge.

        Raises:
            ValueError: the path is no run, its domain reads no texts, or it knows texts in another
                form (another tokeniser) than the run to be judged.
        """
        run = load(path, device=device)
        domain = type(run.model.adapter)
        if domain.batch_of is DomainAdapter.batch_of:
            raise UserError(
                f"{path} cannot be a judge: its domain {domain.__name__} does not read texts; give the "
                "run of one that does"
            )
        if _assets(run.folder) != _assets(of):
            raise UserError(
                f"{path} cannot judge {of.path}: what the two save to read text with, their folders "
                f"assets ({_names(run.folder)} and {_names(of)}), differs; give a judge that was "
                "trained with the same tokeniser, on the same corpus"
            )
        return cls(run)

    @torch.no_grad()
    def weigh(self, texts: Sequence[str]) -> list[Verdict]:
        """What it says of each text.

        Raises:
            ValueError: a text that it cannot read.
        """
        model = self.run.model
        batch = model.adapter.batch_of(texts)
        numbers = batch["text"]
        batch = model.adapter.prepare(batch, stream(SEED, 0, "judge"))
        device = next(model.parameters()).device
        think = model.bind(self.run.config.schedule.typical(), seed=SEED)
        outcome = model.adapter(think, batch.to(device))
        weights = outcome.weights.double().flatten(1).cpu()
        nats = (outcome.losses.double().flatten(1).cpu() * weights).sum(dim=1)
        found = torch.zeros(len(texts), 2, dtype=torch.double)
        found.index_add_(0, numbers, torch.stack([nats, weights.sum(dim=1)], dim=1))
        return [Verdict(*pair) for pair in found.tolist()]


def _assets(folder: RunFolder) -> dict[str, bytes]:
    """The files that a domain saved beside its weights."""
    root = folder.assets_path
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def _names(folder: RunFolder) -> str:
    return ", ".join(_assets(folder)) or "none"

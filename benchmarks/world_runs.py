"""What the benchmarks of the world model share: runs that are trained once, and their open-loop errors."""

from pathlib import Path

import torch

from loopverse.analysis.statistics import Estimate, estimate
from loopverse.training import LoadedRun, load, train
from loopverse.training.compose import compose
from loopverse.training.progress import PlainReporter
from loopverse_world_model import WorldModel
from loopverse_world_model.evaluation.open_loop import open_loop


def trained(folder: Path, name: str, overrides: list[str]) -> LoadedRun:
    """A world model with these settings, trained if it is not there yet."""
    run = folder / name
    if not (run / "summary.json").exists():
        config = compose(["domain=world_model", f"runs={folder}", f"name={name}", *overrides])
        config.training.evaluate_every = config.training.checkpoint_every = config.training.steps
        if run.exists():
            train(run=run, reporter=PlainReporter(every=120))
        else:
            train(config, reporter=PlainReporter(every=120))
    return load(run, "last", "cpu")


@torch.no_grad()
def error(run: LoadedRun, horizon: int, loops: int | None = None, limit: int = 2000) -> float:
    """Root mean square of the open-loop error at a horizon, in standard deviations of the data."""
    think = run.model.bind(loops or run.config.schedule.typical())
    adapter = run.model.adapter
    assert isinstance(adapter, WorldModel)
    found = open_loop(adapter, think, [horizon], limit=limit).error(horizon)
    assert found is not None, f"no held-out episode has {horizon} steps"
    return found.value


def over_seeds(values: list[float]) -> Estimate:
    """Mean and 95 % interval (Student) of one value per seed."""
    return estimate(values, [1.0] * len(values))


def shown(found: Estimate, digits: int = 4) -> str:
    """As it stands in a table."""
    margin = "" if found.margin is None else f" ± {found.margin:.{digits}f}"
    return f"{found.value:.{digits}f}{margin}"

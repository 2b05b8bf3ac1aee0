"""What the benchmarks of the world model share: runs that are trained once, and their open-loop errors."""

from pathlib import Path

import torch
from once import trained_once

from loopverse.training import LoadedRun
from loopverse_world_model import WorldModel
from loopverse_world_model.evaluation.open_loop import open_loop


def trained(folder: Path, name: str, overrides: list[str]) -> LoadedRun:
    """A world model with these settings, trained if it is not there yet."""
    return trained_once(folder, name, ["domain=world_model", *overrides])


@torch.no_grad()
def error(run: LoadedRun, horizon: int, loops: int | None = None, limit: int = 2000) -> float:
    """Root mean square of the open-loop error at a horizon, in standard deviations of the data."""
    think = run.model.bind(loops or run.config.schedule.typical())
    adapter = run.model.adapter
    assert isinstance(adapter, WorldModel)
    found = open_loop(adapter, think, [horizon], limit=limit).error(horizon)
    assert found is not None, f"no held-out episode has {horizon} steps"
    return found.value

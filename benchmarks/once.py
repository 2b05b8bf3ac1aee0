"""What benchmarks that train share: a run that is trained once, and figures over seeds."""

from pathlib import Path

from loopverse.analysis.statistics import Estimate, estimate
from loopverse.training import LoadedRun, load, train
from loopverse.training.compose import compose
from loopverse.training.progress import PlainReporter


def trained_once(folder: Path, name: str, words: list[str], evaluations: int = 1) -> LoadedRun:
    """A run with these settings, trained if it is not there yet, or gone on with.

    Args:
        folder: of the runs.
        name: of this one.
        words: as they are typed after `loopverse train`.
        evaluations: on held-out data, the last one at the end.
    """
    run = folder / name
    if not (run / "summary.json").exists():
        config = compose([*words, f"runs={folder}", f"name={name}"])
        every = max(1, config.training.steps // evaluations)
        config.training.evaluate_every = config.training.checkpoint_every = every
        if run.exists():
            train(run=run, reporter=PlainReporter(every=120))
        else:
            train(config, reporter=PlainReporter(every=120))
    return load(run, "last", "cpu")


def over_seeds(values: list[float]) -> Estimate:
    """Mean and 95 % interval (Student) of one value per seed."""
    return estimate(values, [1.0] * len(values))


def shown(found: Estimate, digits: int = 4) -> str:
    """As it stands in a table."""
    margin = "" if found.margin is None else f" ± {found.margin:.{digits}f}"
    return f"{found.value:.{digits}f}{margin}"

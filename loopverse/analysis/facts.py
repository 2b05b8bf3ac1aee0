"""All that a report says of a run, read from its folder; nothing of how it looks."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median

from loopverse.analysis.allocation import ALLOCATION
from loopverse.analysis.depths import DepthTable, usual_depths
from loopverse.analysis.efficiency import Part, parts
from loopverse.analysis.evaluate import FILE
from loopverse.analysis.exhibits import DIAGNOSIS, Exhibition
from loopverse.analysis.overrides import overrides
from loopverse.analysis.quality import FILE as QUALITY
from loopverse.analysis.quality import QualityTable
from loopverse.domain import DomainAdapter
from loopverse.errors import UserError
from loopverse.registry import load_domain
from loopverse.training import RunFolder, build_model
from loopverse.training.config import GROUPS, TrainConfig
from loopverse.training.rows import Row
from loopverse.training.seeding import stream


@dataclass
class Choice:
    """A strategy that was picked.

    Attributes:
        group: "schedule".
        option: "poisson".
        meaning: the first sentence of its documentation.
    """

    group: str
    option: str
    meaning: str


@dataclass
class RunFacts:
    """A run, finished or not.

    Attributes:
        folder: where it lies.
        config: what it computes.
        machine: `run.json`: versions, precision, device.
        domain: the adapter's class.
        train: rows of training steps.
        valid: rows of evaluations during training.
        parts: parameters by part.
        table: the evaluation by depth, if there is one.
        quality: what it makes, against what that costs, if it was measured.
        exhibition: what its domain shows of it.
        allocation: where the loops went under a rule to stop early, if that was measured.
        diagnosis: what each loop does, if that was asked.
        changed: overrides that lead from the defaults to this run; None where no line leads to it.
        missing: what a finished run would have, and how to get it.
    """

    folder: RunFolder
    config: TrainConfig
    machine: Row
    domain: type[DomainAdapter]
    train: list[Row]
    valid: list[Row]
    parts: list[Part]
    table: DepthTable | None
    quality: QualityTable | None
    exhibition: Exhibition
    allocation: Exhibition
    diagnosis: Exhibition
    changed: list[str] | None
    missing: list[str] = field(default_factory=list)

    @property
    def metric(self) -> str:
        """The domain's headline metric."""
        return self.domain.metric

    @property
    def last(self) -> Row:
        """The newest row of a training step; empty where none was logged yet."""
        return self.train[-1] if self.train else {}

    @property
    def step(self) -> int:
        """Optimiser steps done, as far as they are logged."""
        return self.last.get("step", 0)

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return (self.folder.path / "summary.json").exists() and bool(
            self.valid and self.valid[-1]["step"] >= self.config.training.steps
        )

    @property
    def best(self) -> Row | None:
        """The evaluation in training with the lowest headline metric."""
        known = [row for row in self.valid if row.get(self.metric) is not None]
        return min(known, key=lambda row: row[self.metric], default=None)

    @property
    def units_per_second(self) -> float | None:
        """Median speed of training steps; the first tenth is left out, where caches are cold."""
        speeds = [row["units_per_second"] for row in self.train[len(self.train) // 10 :]]
        return median(speeds) if speeds else None

    @property
    def choices(self) -> list[Choice]:
        """The strategies of the run, in the order of `GROUPS`."""
        picked = self.config.choices
        return [
            Choice(group, picked[group], _first_sentence(kinds[picked[group]]))
            for group, kinds in GROUPS.items()
            if picked.get(group) in kinds
        ]

    def choice(self, group: str) -> Choice:
        """The strategy of one group."""
        return next(choice for choice in self.choices if choice.group == group)

    @property
    def seconds(self) -> float:
        """Time spent on training, evaluations included, as far as it is logged."""
        return max([0.0, *(row["seconds"] for row in self.train[-1:] + self.valid[-1:])])

    @property
    def commands(self) -> list[tuple[str, str]]:
        """What to type next, with what for."""
        path = shlex.quote(str(self.folder.path))
        again = shlex.join(["loopverse", "train", *(self.changed or [])])
        core = self.config.core
        most = None if core.tied else core.loops
        depths = usual_depths(2 * self.config.schedule.typical(), most)
        commands = [
            (
                "measure it at other depths",
                f"loopverse evaluate {path} --loops {','.join(map(str, depths))}",
            ),
            ("see what each loop does", f"loopverse diagnose {path}"),
            ("write this page anew", f"loopverse report {path}"),
        ]
        commands = [*suggested(self.domain, self.folder.path), *commands]
        if not self.finished:
            commands.insert(0, ("go on training", f"loopverse train run={path}"))
        if self.changed is not None:
            commands.append(("train another like it", again))
        return commands

    @property
    def per_sequence(self) -> bool:
        """Whether each sequence of a batch had a depth of its own."""
        return len(self.drawn_depths) > self.step

    @cached_property
    def drawn_depths(self) -> list[int]:
        """The loops of every step so far, or of every sequence, drawn again from their address."""
        config, settings = self.config, self.config.training
        sequences = settings.batch_size * settings.accumulate * self.machine.get("processes", 1)
        drawn: list[int] = []
        for step in range(self.step):
            depth = config.schedule.draw(
                sequences,
                progress=step / settings.steps,
                rng=stream(config.seed, step, "depth"),
            )
            drawn += [depth] if isinstance(depth, int) else depth.tolist()
        return drawn


def suggested(domain: type[DomainAdapter], run: Path) -> list[tuple[str, str]]:
    """What can be typed next because the domain is what it is, with what for."""
    path = shlex.quote(str(run))
    commands = [(what, line.replace("{run}", path)) for line, what in domain.suggestions.items()]
    if domain.sample is not DomainAdapter.sample:
        commands.insert(
            0, ("let it go on from your words", f'loopverse sample {path} --prompt "..."')
        )
    return commands


def read_facts(run: RunFolder) -> RunFacts:
    """Gather what there is.

    Raises:
        ValueError: settings that cannot be read, or a domain that is not installed.
    """
    config = run.config
    facts = RunFacts(
        folder=run,
        config=config,
        machine=run.facts,
        domain=load_domain(config.choices["domain"]),
        train=run.rows.read("train"),
        valid=run.rows.read("valid"),
        parts=parts(build_model(config)),
        table=None,
        quality=None,
        exhibition=Exhibition([]),
        allocation=Exhibition([]),
        diagnosis=Exhibition([]),
        changed=None,
    )
    try:
        facts.table = DepthTable.load(run.path / FILE)
    except FileNotFoundError:
        facts.missing.append(
            f"There is no evaluation by depth yet: `loopverse evaluate {run.path}` makes one."
        )
    except UserError as error:
        facts.missing.append(f"{error}.")
    try:
        facts.quality = QualityTable.load(run.path / QUALITY)
    except FileNotFoundError:
        pass  # nobody asked
    except UserError as error:
        facts.missing.append(f"{error}.")
    try:
        facts.exhibition = Exhibition.load(run.path)
    except UserError as error:
        facts.missing.append(f"{error}.")
    if facts.exhibition.problem:
        facts.missing.append(f"Not all that the domain shows is here: {facts.exhibition.problem}.")
    try:
        facts.allocation = Exhibition.load(run.path, ALLOCATION)
    except UserError as error:
        facts.missing.append(f"{error}.")
    if facts.allocation.problem:
        facts.missing.append(
            f"Not all of where the loops went is here: {facts.allocation.problem}."
        )
    try:
        facts.diagnosis = Exhibition.load(run.path, DIAGNOSIS)
    except UserError as error:
        facts.missing.append(f"{error}.")
    try:
        facts.changed = overrides(config)
    except UserError as error:
        facts.missing.append(f"No command line leads to these settings: {error}.")
    if not facts.train:
        facts.missing.append("No training step has been logged yet.")
    elif not facts.finished:
        facts.missing.append(
            f"Training is at step {facts.step} of {config.training.steps}: "
            f"`loopverse train run={run.path}` goes on with it."
        )
    if facts.train and not facts.valid:
        facts.missing.append(
            "Nothing has been measured on held-out data yet: the first evaluation comes after step "
            f"{min(config.training.evaluate_every, config.training.steps)}."
        )
    return facts


def _first_sentence(kind: type) -> str:
    text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return text if text.endswith((".", ")")) else f"{text}."

"""Where the loops went when units may stop early: for any domain, under any rule.

Held-out data are read at full depth, which says how difficult every unit is, and under each rule, which
says how many loops it got. `allocation.json` in a run folder keeps what there is to show of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from tensordict import TensorDict
from torch import Tensor

from loopverse.analysis.difficulty import Spent, distribution, relation
from loopverse.analysis.exhibits import Exhibition, gathered, problem_of
from loopverse.analysis.numbers import loops_in_words
from loopverse.analysis.showing_allocation import spent_exhibits, units_map
from loopverse.analysis.ways import Watcher, WayTable, read_in_ways
from loopverse.depth import Halting
from loopverse.domain import DomainAdapter
from loopverse.exhibit import Exhibit
from loopverse.model import LoopedModel
from loopverse.training.evaluation import SEED, Measured, Way
from loopverse.training.seeding import seed_everything

ALLOCATION = "allocation"
"""Name of the file in the run folder, and of the folder of its pictures."""
LOSS = "loss"
"""The difficulty that every unit has: its loss at full depth."""


@dataclass
class Allocation:
    """Where the loops went under some rules, and what that cost.

    Attributes:
        table: held-out data at fixed depths and under each rule.
        spent: by name of the rule; empty where the domain does not say how many loops a unit got.
        exhibition: all of it, as it is shown.
    """

    table: WayTable
    spent: dict[str, Spent]
    exhibition: Exhibition

    def save(self, run: Path) -> None:
        """Write what is shown into a run folder, for its report."""
        self.exhibition.save(run, ALLOCATION)


def collect_allocation(
    model: LoopedModel,
    rules: Mapping[str, Halting],
    depth: int,
    *,
    fixed: Sequence[int] = (),
    closely: Sequence[str] | Callable[[WayTable], Sequence[str]] | None = None,
    batch_size: int,
    max_batches: int | None = None,
    only: Callable[[int], bool] | None = None,
    precision: str = "fp32",
    step: int = 0,
    watchers: Sequence[Watcher] = (),
) -> Allocation:
    """Read held-out data at full depth and under each rule, and say where the loops went.

    An error of the domain in what it shows of its own is kept as the exhibition's `problem`.

    Args:
        model: on the device to use; left in the mode it was in.
        rules: by the name they are shown with.
        depth: loops at full depth, the most that a unit gets under a rule.
        fixed: other depths to put beside them.
        closely: rules of which single units are shown, and what the domain has to show, or what says so
            once the table is there; None: all.
        batch_size: sequences per batch; intervals are over batches.
        max_batches: batches of the pass; None takes the whole split.
        only: says of a batch's number whether to read it; None reads all.
        precision: "bf16" or "fp32".
        step: optimiser steps behind the weights, to note down.
        watchers: are told the name of each way and what came of it, batch by batch.

    Raises:
        ValueError: no held-out data, or a rule that does not work with this model.
    """
    depths = {loops_in_words(loops): Way(loops) for loops in sorted({*fixed, depth})}
    ways = {**depths, **{name: Way(depth, rule) for name, rule in rules.items()}}
    full = loops_in_words(depth)
    units = _Units(model.adapter, full, list(rules))
    table = read_in_ways(
        model,
        ways,
        full,
        batch_size=batch_size,
        max_batches=max_batches,
        only=only,
        precision=precision,
        step=step,
        watchers=[units.add, *watchers],
    )
    assert units.batch is not None, "a table without batches"
    assert units.counts is not None, "a table without batches"
    spent = units.spent()
    exhibits: list[Exhibit] = [table.exhibit(), *spent_exhibits(spent)]
    problems = [units.problem]
    for name in rules if closely is None else closely(table) if callable(closely) else closely:
        called = f" ({name})" if len(rules) > 1 else ""
        if name in units.first:
            exhibits.append(units_map(units.first[name], units.counts, called))
        own, problem = _own_exhibits(model, ways[name], units.batch)
        exhibits += [replace(one, title=f"{one.title}{called}") for one in own]
        problems.append(problem)
    problem = "; ".join(dict.fromkeys(problem for problem in problems if problem))
    return Allocation(table, spent, Exhibition(exhibits, step, problem))


@dataclass
class _Units:
    """Loops and difficulty of every unit that counts, as they come in.

    Attributes:
        adapter: the domain.
        full: name of the way that says how difficult units are.
        rules: names of the ways whose loops are of interest.
        batch: the first one, prepared.
        counts: which of its units do.
        first: loops of its units, by rule.
        problem: what the domain does not say, or an error of it.
    """

    adapter: DomainAdapter
    full: str
    rules: list[str]
    batch: TensorDict | None = None
    counts: Bool[Tensor, "b t"] | None = None
    first: dict[str, Int[Tensor, "b t"]] = field(default_factory=dict)
    problem: str = ""
    loops: dict[str, list[Tensor]] = field(default_factory=dict)
    difficulty: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, name: str, measured: Measured) -> None:
        """Count one batch, read in the way of this name."""
        outcome = measured.outcome
        counts = outcome.weights > 0
        if name == self.full:
            for kind, values in self._difficulties(measured).items():
                self.difficulty.setdefault(kind, []).append(values[counts].float().cpu())
            if self.batch is None:
                self.batch, self.counts = measured.batch, counts.cpu()
        if name not in self.rules:
            return
        if outcome.depth is None:
            self.problem = (
                f"{type(self.adapter).__name__} does not say how many loops each unit got: return "
                "`thought.weigh(...)` from forward, with one loss for each unit of the state"
            )
            return
        self.loops.setdefault(name, []).append(outcome.depth[counts].cpu())
        self.first.setdefault(name, outcome.depth.cpu())

    def spent(self) -> dict[str, Spent]:
        """Where the loops went, by rule."""
        return {
            name: Spent(
                distribution(loops),
                {
                    kind: relation(loops, values)
                    for kind, values in self.difficulty.items()
                    if len(values) == len(loops)  # else an error came in between
                },
            )
            for name, loops in self.loops.items()
        }

    def _difficulties(self, measured: Measured) -> dict[str, Float[Tensor, "*units"]]:
        losses = measured.outcome.losses
        found = {LOSS: losses}
        if self.problem:
            return found
        try:
            for kind, values in self.adapter.difficulties(measured.outcome, measured.batch).items():
                if values.shape != losses.shape:
                    raise ValueError(
                        f"{kind!r} must have the shape of the losses, {list(losses.shape)}, got "
                        f"{list(values.shape)}"
                    )
                found[kind] = values
        except Exception as error:  # whatever a stranger's code raises: its losses are still there
            self.problem = problem_of(error, f"{type(self.adapter).__name__}.difficulties failed")
            found = {LOSS: losses}
        return found


@torch.no_grad()
def _own_exhibits(model: LoopedModel, way: Way, batch: TensorDict) -> tuple[list[Exhibit], str]:
    """What the domain has to show of a rule."""
    adapter, training = model.adapter, model.training
    seed_everything(SEED, 0, ALLOCATION, next(model.parameters()).device)
    model.eval()
    try:
        return gathered(
            lambda: adapter.allocation(
                model.bind(way.depth, seed=SEED, halting=way.halting), batch
            ),
            f"{type(adapter).__name__}.allocation",
        )
    finally:
        model.train(training)

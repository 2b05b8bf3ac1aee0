"""What each loop of a trained model does, when to stop, and whether it converges: for any run of any domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tensordict import TensorDict
from torch import Tensor

from loopverse.analysis.depths import check_depths
from loopverse.analysis.difficulty import Distribution, distribution
from loopverse.analysis.exhibits import DIAGNOSIS, Exhibition
from loopverse.analysis.numbers import loops_in_words
from loopverse.analysis.ways import WayTable, batch_size_for, read_in_ways
from loopverse.depth import FixedPoint, Halting
from loopverse.diagnosis import showing
from loopverse.diagnosis.attention import AttentionTrace
from loopverse.diagnosis.exits import Exits, read_exits, read_votes
from loopverse.diagnosis.fidelity import Fidelity, gradient_fidelity
from loopverse.diagnosis.findings import Choice, Finding, advice, choose_depth, health
from loopverse.diagnosis.settling import Settling, settle
from loopverse.diagnosis.sweep import Sweep
from loopverse.diagnosis.trace import Trace
from loopverse.model import LoopedModel
from loopverse.training import RunFolder, load
from loopverse.training.evaluation import SEED, Measured, Way
from loopverse.training.precision import autocast
from loopverse.training.probe import Probe

SAMPLES = 500
"""Held-out rows that are read, where there are as many."""
KEPT = 3
"""Calls of the core that are looked at closely."""
ATTENTION = 8
"""Batches whose attention is looked at."""
GRADIENTS = 2
"""Batches that are differentiated."""
EXITS = 16
"""Batches that rules to stop early are tried on, at most."""
CONVERGED = 0.1
"""Relative change of a state in a loop, below which a unit has converged (2606.18206)."""


@dataclass
class Diagnosis:
    """All that was found of a run.

    Attributes:
        trained: the depth that the model is used with.
        table: held-out data at every depth.
        choice: how many loops to run.
        sweep: predictions at every depth.
        trace: how the state moves.
        attention: what the heads look at.
        settling: where the loop would lead; None for an untied core.
        exits: rules to stop early.
        votes: predictions from several loops together, beside those of the last one.
        fidelity: ways to differentiate.
        gate: loops that the trained rule gives; None where there is none.
        findings: in words.
        exhibition: all of it, as it is shown.
    """

    trained: int
    table: WayTable
    choice: Choice
    sweep: Sweep
    trace: Trace
    attention: AttentionTrace
    settling: Settling | None
    exits: Exits
    votes: WayTable
    fidelity: Fidelity
    gate: Distribution | None
    findings: list[Finding]
    exhibition: Exhibition

    def save(self, run: Path) -> None:
        """Write `diagnosis.json` into a run folder, for its report."""
        self.exhibition.save(run, DIAGNOSIS)


def diagnose_run(
    run: str | Path | RunFolder,
    *,
    samples: int = SAMPLES,
    checkpoint: str | int = "best",
    device: torch.device | str | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Diagnosis:
    """Diagnose a run's checkpoint, and write `diagnosis.json` into its folder.

    Args:
        run: the run folder.
        samples: held-out rows to read, at least two batches of them.
        checkpoint: "best", "last" or a step.
        device: where to compute; default: the accelerator there is, else the CPU.
        told: called with what is being done.

    Raises:
        ValueError: a run that cannot be loaded, whose domain is not installed or whose data are gone.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    loaded = load(run, checkpoint, device)
    config = loaded.config
    batch_size = batch_size_for(loaded.model, config.training.batch_size)
    found = diagnose(
        loaded.model,
        config.schedule.typical(),
        rule=config.halting if config.halting.adaptive else None,
        drawn=config.schedule.typical() != config.schedule.largest(),
        batch_size=batch_size,
        max_batches=max(2, -(-samples // batch_size)),
        precision=loaded.folder.facts["precision"],
        step=loaded.step,
        told=told,
    )
    found.save(loaded.folder.path)
    return found


def diagnose(
    model: LoopedModel,
    trained: int,
    *,
    rule: Halting | None = None,
    drawn: bool = False,
    batch_size: int,
    max_batches: int,
    precision: str = "fp32",
    step: int = 0,
    told: Callable[[str], None] = lambda _: None,
) -> Diagnosis:
    """Diagnose a model on its domain's held-out data.

    Args:
        model: on the device to use; left in the mode it was in.
        trained: the depth that it is used with.
        rule: to stop early, that it was trained with; None: there is none.
        drawn: whether the number of loops was drawn in training.
        batch_size: sequences per batch; intervals are over batches.
        max_batches: batches to read.
        precision: "bf16" or "fp32".
        step: optimiser steps behind the weights, to note down.
        told: called with what is being done.

    Raises:
        ValueError: no held-out data.
    """
    core = model.core
    most = None if core.config.tied else core.config.loops
    depths = worth_a_look(trained, most)
    watch = _Watch(model, trained, depths, precision)
    full = loops_in_words(trained)
    ways = {full: Way(trained)}
    ways |= {loops_in_words(depth): Way(depth) for depth in depths if depth != trained}
    if core.config.tied:
        ways[watch.SETTLED] = Way(2 * trained, FixedPoint(tolerance=CONVERGED))
    if rule is not None:
        ways[watch.OWN] = Way(trained, rule)
    told(f"reading at {', '.join(map(str, depths))} loops")
    amount = {"batch_size": batch_size, "precision": precision}
    table = read_in_ways(
        model, ways, full, max_batches=max_batches, step=step, watchers=[watch], **amount
    )
    table.readings.sort(key=lambda row: row.depth)
    told("letting the loop go on")
    settling, why_not = None, ""
    training = model.training
    model.eval()
    try:
        settling = settle(core, watch.trace.calls, trained, SEED)
    except ValueError as error:
        why_not = f"{error}."
    finally:
        model.train(training)
    told("trying rules to stop early")
    few = min(EXITS, max_batches)
    exits = read_exits(model, trained, rule, max_batches=few, **amount)
    votes = read_votes(model, trained, bool(watch.sweep.agreement), max_batches=few, **amount)
    told("differentiating")
    fidelity = gradient_fidelity(model, watch.batches, trained, SEED)
    gate = distribution(watch.given) if rule is not None and watch.given else None
    choice = choose_depth(table, depths)
    findings = [
        *advice(table, choice, trained, exits, drawn),
        *health(table, trained, depths, watch.sweep, watch.trace, settling, gate),
    ]
    exhibits = [
        showing.in_short(findings, len(table.weights)),
        *showing.by_depth(table, watch.sweep, trained),
        *showing.of_units(watch.sweep, watch.settled_shares()),
        *showing.of_states(watch.trace, watch.attention),
        *showing.of_settling(settling, why_not),
        *showing.of_exits(exits),
        *showing.of_votes(votes),
        *showing.of_gate(gate),
        *showing.of_gradients(fidelity),
    ]
    return Diagnosis(
        trained=trained,
        table=table,
        choice=choice,
        sweep=watch.sweep,
        trace=watch.trace,
        attention=watch.attention,
        settling=settling,
        exits=exits,
        votes=votes,
        fidelity=fidelity,
        gate=gate,
        findings=findings,
        exhibition=Exhibition(exhibits, step),
    )


def worth_a_look(trained: int, most: int | None = None) -> list[int]:
    """Depths up to twice the trained one: all up to 4, then powers of two and what lies half-way.

    Args:
        trained: loops that the model is used with.
        most: the deepest that it can run; None: no bound.
    """
    usual = {1, 2, 3, 4} | {power * k for k in (2, 3) for power in (2, 4, 8, 16, 32, 64, 128)}
    deepest = 2 * trained if most is None else min(most, 2 * trained)
    return check_depths(sorted({n for n in usual if n <= deepest} | {trained, deepest}), most)


@dataclass
class _Watch:
    """Looks at every batch as it is read: at predictions at each depth, at states at the trained one."""

    model: LoopedModel
    trained: int
    depths: list[int]
    precision: str
    trace: Trace = field(default_factory=Trace)
    attention: AttentionTrace = field(default_factory=AttentionTrace)
    batches: list[TensorDict] = field(default_factory=list)
    given: list[Tensor] = field(default_factory=list)
    seen: int = 0
    converged: dict[str, list[float]] = field(default_factory=dict)

    SETTLED = "until it converges"
    OWN = "the trained rule"

    def __post_init__(self) -> None:
        self.sweep = Sweep(self.model.adapter, self.trained, self.depths)

    @torch.no_grad()
    def __call__(self, name: str, measured: Measured) -> None:
        if name == self.OWN:
            if measured.outcome.depth is not None:
                counts = measured.outcome.weights > 0
                self.given.append(measured.outcome.depth[counts].cpu())
            return
        if name == self.SETTLED:
            self._converged(measured)
            return
        if name == loops_in_words(self.trained):
            self._states(measured.batch)
        self.sweep.add(measured)

    def settled_shares(self) -> dict[str, float]:
        """Shares of units that converged or not, right or wrong."""
        return {name: sum(values) / len(values) for name, values in self.converged.items()}

    def _states(self, batch: TensorDict) -> None:
        model, device = self.model, next(self.model.parameters()).device
        probe = Probe(model, self.trained, SEED)
        with autocast(self.precision, device):
            if self.seen < ATTENTION:
                with self.attention.watching(model.core.bodies):
                    model.adapter(probe, batch)
            else:
                model.adapter(probe, batch)
        self.trace.add(probe, keep=self.seen < KEPT)
        if self.seen < GRADIENTS:
            self.batches.append(batch)
        self.seen += 1

    def _converged(self, measured: Measured) -> None:
        outcome = measured.outcome
        if outcome.depth is None:
            return
        counts = outcome.weights > 0
        converged = outcome.depth[counts] < measured.way.depth
        correct = self.model.adapter.correct(outcome, measured.batch)
        if correct is None:
            self._note("converged", converged)
            return
        correct = correct[counts]
        self._note("converged and right", converged & correct)
        self._note("converged and wrong", converged & ~correct)
        self._note("not converged, right", ~converged & correct)
        self._note("not converged, wrong", ~converged & ~correct)

    def _note(self, name: str, units: Tensor) -> None:
        self.converged.setdefault(name, []).append(float(units.double().mean()))

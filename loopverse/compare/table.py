"""The table of a study: a row for every run, finished or not, with what it cost."""

from __future__ import annotations

import csv
import importlib.util
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path

from tensordict import TensorDict

from loopverse.analysis.efficiency import Cost, applied, measure_cost, parts
from loopverse.compare.energy import read_joules
from loopverse.compare.jobs import Job
from loopverse.compare.memory import training_memory
from loopverse.model import LoopedModel
from loopverse.training import RunFolder, build_model
from loopverse.training.config import TrainConfig
from loopverse.training.evaluation import SEED
from loopverse.training.files import write_bytes, write_text
from loopverse.training.seeding import stream

TABLE = "runs.csv"
NOT_FINITE = "the headline metric is not a finite number"


@dataclass
class Price:
    """What a model costs, whatever it learned.

    Attributes:
        parameters: numbers that it stores, each once.
        outside: those of them that the domain owns: embeddings, heads.
        applied: numbers that a unit passes, those of a loop once for every loop.
        forward: FLOPs of a forward pass, per unit.
        training: FLOPs of a training step, per unit: thrice as many where every loop is differentiated.
        units: of a training step.
        memory: bytes that a training step keeps (`loopverse.compare.memory`).
    """

    parameters: int
    outside: int
    applied: int
    forward: float
    training: float
    units: int
    memory: int


@dataclass
class Row:
    """A run of a study.

    Attributes:
        group: what it is compared with.
        arm: its arm.
        kind: of the arm, see `Arm`.
        loops: of the arm.
        seed: of the run.
        rate: multiple of the domain's learning rate.
        steps: of the run.
        state: "finished", "failed" or "missing".
        reason: why it failed.
        metric: name of the headline metric; lower is better.
        value: of it at the end; not a number unless finished.
        seconds: of training.
        parameters: stored.
        outside: of these, the domain's.
        applied: unrolled.
        forward_flops: per unit.
        training_flops: of the whole run.
        memory: bytes that a training step keeps.
        joules: that the machine used while it was trained; not a number where that is not known.
        folder: where the run lies, from the folder of the study.
    """

    group: str
    arm: str
    kind: str
    loops: int
    seed: int
    rate: float
    steps: int
    state: str
    reason: str
    metric: str
    value: float
    seconds: float
    parameters: int
    outside: int
    applied: int
    forward_flops: float
    training_flops: float
    memory: int
    joules: float
    folder: str

    @property
    def counts(self) -> bool:
        """Whether there is a result to compare."""
        return self.state == "finished" and math.isfinite(self.value)


def price_of(config: TrainConfig) -> Price:
    """What the model of a configuration costs.

    Forward FLOPs are those of `loopverse.analysis.efficiency`: matrix products alone, attention counting the
    whole square. The backward pass of a product has two of its size. A loop that no gradient passes costs its
    forward pass alone, and one that is computed anew for the gradient a second one.
    """
    model = build_model(config)
    found = parts(model)
    batch = _a_batch(model, config)
    cost = measure_cost(model, batch)
    depth = config.schedule.typical()
    return Price(
        parameters=sum(part.parameters for part in found),
        outside=next(part.parameters for part in found if part.name == "domain"),
        applied=applied(found, depth),
        forward=cost.per_unit(model.core, depth),
        training=training_flops(model, config, cost, depth),
        units=cost.units * config.training.accumulate,
        memory=training_memory(model, config, batch),
    )


def training_flops(model: LoopedModel, config: TrainConfig, cost: Cost, depth: int) -> float:
    """FLOPs of a training step per unit, at so many loops.

    Too many where a state is carried over calls and the loop reads no input, so that the prelude of later
    calls is computed in vain and gets no gradient.
    """
    name = config.choices.get("gradient", "full")
    forward = cost.per_unit(model.core, depth)
    loop = cost.per_unit(model.core, 1) - cost.per_unit(model.core, 0)
    if name == "checkpointed":
        return 3 * forward + depth * loop
    if name in ("truncated", "one_step"):
        reached = 1 if name == "one_step" else min(depth, getattr(config.gradient, "loops", depth))
        return 3 * forward - 2 * (depth - reached) * loop
    return 3 * forward


def row_of(job: Job, price: Price) -> Row:
    """The row of a job, whatever became of it."""
    finished, reason = job.finished, job.failure
    summary = (RunFolder.open(job.path).summary or {}) if finished else {}
    value = job.value
    state = "finished" if finished else "failed" if reason else "missing"
    if finished and not math.isfinite(value):
        state, reason = "failed", NOT_FINITE
    return Row(
        group=str(job.group),
        arm=str(job.arm),
        kind=job.arm.kind,
        loops=job.arm.loops,
        seed=job.seed,
        rate=job.rate,
        steps=job.steps,
        state=state,
        reason=reason,
        metric=str(summary.get("metric", "")),
        value=value,
        seconds=float(summary.get("seconds", math.nan)),
        parameters=price.parameters,
        outside=price.outside,
        applied=price.applied,
        forward_flops=price.forward,
        training_flops=price.training * price.units * job.steps,
        memory=price.memory,
        joules=read_joules(job.energy),
        folder=str(job.path.relative_to(job.folder)),
    )


def curve_of(run: RunFolder, flops_per_step: float) -> list[tuple[float, float]]:
    """Training FLOPs and held-out metric, at every evaluation of a run."""
    summary = run.summary or {}
    metric = summary.get("metric")
    return [
        (row["step"] * flops_per_step, float(row[metric]))
        for row in run.rows.read("valid")
        if metric in row
    ]


def as_csv(rows: Sequence[Row]) -> str:
    """The rows with a line of names before them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [item.name for item in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def write_table(rows: Sequence[Row], folder: Path) -> None:
    """`runs.csv`, and `runs.parquet` with the same where pyarrow is installed, as the extra `text` has it."""
    write_text(folder / TABLE, as_csv(rows))
    if importlib.util.find_spec("pyarrow") is None:
        return
    from pyarrow import BufferOutputStream, Table, parquet

    sink = BufferOutputStream()
    parquet.write_table(Table.from_pylist([asdict(row) for row in rows]), sink)
    write_bytes((folder / TABLE).with_suffix(".parquet"), sink.getvalue().to_pybytes())


def read_csv(path: Path) -> list[Row]:
    """What `as_csv` wrote."""
    kinds = {item.name: str(item.type) for item in fields(Row)}
    readers = {"int": int, "float": float, "str": str}
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(**{name: readers[kinds[name]](value) for name, value in line.items()})
            for line in csv.DictReader(file)
        ]


def _a_batch(model: LoopedModel, config: TrainConfig) -> TensorDict:
    batches = model.adapter.batches("train", batch_size=config.training.batch_size, seed=SEED)
    (batch,) = islice(batches, 1)
    return model.adapter.prepare(batch, stream(SEED, 0, "price"))

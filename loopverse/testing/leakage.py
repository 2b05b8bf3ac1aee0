"""Checks of who sees whom: rows, later units, targets, padding."""

from dataclasses import replace

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.distributions import Distribution

from loopverse.domain import Thought
from loopverse.model import LoopedModel
from loopverse.nn import CoreInput
from loopverse.testing.bench import LOOPS, Bench, global_seed, leaves, take
from loopverse.testing.checking import check
from loopverse.testing.failure import NothingToCheck, expect
from loopverse.testing.prediction import close, loss_is_a_mean, loss_is_deterministic

EXACT = 1e-6
"""Of differences between computations on the same values."""


@check(loss_is_a_mean)
def rows_are_independent(bench: Bench) -> None:
    """A row alone has the losses that it has in a batch."""
    model = bench.model()
    together = bench.outcome(model).losses[:1]
    alone = bench.outcome(model, bench.batch[:1]).losses
    expect(
        alone.shape == together.shape and torch.allclose(alone, together, rtol=1e-4, atol=1e-4),
        "row 0 alone to have the losses it has in the batch",
        f"losses that differ by up to {_largest(alone, together)}",
        "no statistics over rows (batch norm, x - x.mean(0)), no lookup by row number",
    )


@check(loss_is_deterministic)
def causal_predictions_do_not_read_ahead(bench: Bench) -> None:
    """With `attend.causal`, changing later units changes no earlier prediction."""
    model, length = bench.model(), _causal_length(bench)
    before = bench.prediction(model)
    for cut in sorted({length // 3, 2 * length // 3} - {0}):
        batch = bench.batch
        for name in _along_time(bench):
            batch = _with_columns_of_other_rows(batch, name, slice(cut, None))
        changed = _changed(before, bench.prediction(model, batch))[:, :cut].any(0)
        expect(
            not changed.any(),
            f"predictions before position {cut} to stay when units from {cut} on change",
            f"other predictions at {_places(changed)}",
            "likely the target is read as input: shift by one, x from units[:, :-1] and the loss "
            "from units[:, 1:]; or predict mixes positions",
        )


@check(causal_predictions_do_not_read_ahead)
def predictions_do_not_read_their_targets(bench: Bench) -> None:
    """With `attend.causal`, no prediction depends on the value that its own loss compares it with.

    Except on values of earlier columns: to repeat what was read is a task like any other.
    """
    if bench.thinks_itself:
        raise NothingToCheck("what forward compares with what is its own business")
    model, length = bench.model(), _causal_length(bench)
    prediction = bench.prediction(model)
    with torch.no_grad():
        loss = model.adapter.loss(prediction, bench.batch).losses
    for name in _along_time(bench):
        for column in sorted({length // 3, 2 * length // 3}):
            batch = _with_columns_of_other_rows(bench.batch, name, slice(column, column + 1))
            with torch.no_grad():
                target_of = model.adapter.loss(prediction, batch).losses != loss
            leaks = (target_of & _changed(prediction, bench.prediction(model, batch))).any(0)
            leaks = leaks[: column + 1]
            expect(
                not leaks.any(),
                f"{name}[:, {column}] to be either a target or read by that prediction",
                f"both at {_places(leaks)}",
                "the model is shown the answer: embed must leave out what loss compares with",
            )


@check(loss_is_deterministic)
def padding_counts_nothing_and_is_not_read(bench: Bench) -> None:
    """Where `attend.padding` is false the weight is 0, and what stands there changes no loss."""
    model = bench.model()
    batch, padding = _with_padding(bench, model)
    outcome = bench.outcome(model, batch)
    if outcome.weights.shape == padding.shape:
        expect(
            not outcome.weights[~padding].any(),
            "weight 0 where attend.padding is false",
            f"{int((outcome.weights[~padding] != 0).sum())} weighted units of padding",
            "weights = padding.float(); attend.padding is true where there IS a unit",
        )
    think = model.bind(LOOPS)

    def spoiled(
        inputs: CoreInput,
        carry: Tensor | None = None,
        outer: float | Tensor = 0.0,
        keep: Tensor | None = None,
    ) -> Thought:
        present = inputs.attend.padding
        assert present is not None  # this batch has padding
        noise = torch.randn(inputs.x.shape, generator=torch.Generator().manual_seed(0))
        return think(
            replace(inputs, x=inputs.x.where(present[..., None], noise)), carry, outer, keep
        )

    before = float(outcome.loss)
    after = float(bench.outcome(model, batch, think=spoiled).loss)
    expect(
        close(before, after),
        f"the loss {before:.6g} again with noise in place of the padding",
        f"{after:.6g}",
        "units are mixed outside the core: pooling over time must leave padding out",
    )


def _with_padding(bench: Bench, model: LoopedModel) -> tuple[TensorDict, Tensor]:
    """A batch that has padding, and where its units are."""
    for split in ("train", "valid"):
        for raw in take(bench.adapter(), split, 8):
            batch = bench.prepared(raw)
            with torch.no_grad():
                padding = model.adapter.eval().embed(batch).attend.padding
            if padding is not None and not padding.all():
                return batch, padding
    raise NothingToCheck("no padding in any batch")


def _causal_length(bench: Bench) -> int:
    """How many units a row has, for a causal domain."""
    if not bench.inputs.attend.causal:
        raise NothingToCheck("not causal")
    return bench.inputs.x.shape[1]


def _along_time(bench: Bench) -> list[str]:
    """Entries of the batch with one value per unit, or one more (inputs and targets in one)."""
    length = bench.inputs.x.shape[1]
    names = [
        name
        for name, value in leaves(bench.batch).items()
        if isinstance(value, Tensor) and value.ndim > 1 and value.shape[1] in (length, length + 1)
        if value.dtype != torch.bool
    ]
    if not names:
        raise NothingToCheck("no entry of the batch runs along the units")
    return names


def _with_columns_of_other_rows(batch: TensorDict, name: str, columns: slice) -> TensorDict:
    """The batch with some columns of an entry moved on by a row, so that all values stay possible."""
    key = tuple(name.split("."))
    value = batch.get(key).clone()
    value[:, columns] = value[:, columns].roll(1, dims=0)
    return batch.clone(recurse=False).set(key, value)


def _changed(one: Distribution, other: Distribution) -> Tensor:
    """Where two predictions differ, `[b t]`, by the score of a value drawn from the first."""
    with global_seed(0):
        value = one.sample()
    score = one.log_prob(value)
    return (other.log_prob(value) - score).abs() > EXACT * (1 + score.abs())


def _places(where: Tensor) -> str:
    places = where.nonzero().flatten().tolist()
    return f"position{'s' if len(places) > 1 else ''} {', '.join(map(str, places[:4]))}" + (
        ", ..." if len(places) > 4 else ""
    )


def _largest(one: Tensor, other: Tensor) -> str:
    if one.shape != other.shape:
        return f"their shape, {list(one.shape)} and {list(other.shape)}"
    return f"{float((one - other).abs().max()):.3g}"

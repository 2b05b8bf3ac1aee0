"""Checks of what a domain reads, predicts and loses: shapes, chance, and means."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from loopverse.domain import Outcome
from loopverse.nn import Attend, CoreInput
from loopverse.testing.bench import Bench
from loopverse.testing.checking import check
from loopverse.testing.data import prepare_returns_a_batch
from loopverse.testing.failure import expect

TOLERANCE = 1e-4
"""Of relative differences that are arithmetic and not meaning."""


@check(prepare_returns_a_batch)
def embed_returns_what_the_core_reads(bench: Bench) -> None:
    """`embed` returns a `CoreInput`: `x [b t width]`, a mask of `[b t]`, finite values."""
    inputs, rows = bench.inputs, bench.batch.batch_size[0]
    expect(
        isinstance(inputs, CoreInput) and isinstance(inputs.attend, Attend),
        "embed to return CoreInput(x, Attend(...))",
        type(inputs).__name__,
        "say who may read whom: CoreInput(x=x, attend=Attend(causal=True))",
    )
    shape = list(inputs.x.shape)
    expect(
        len(shape) == 3 and shape[0] == rows and shape[2] == bench.width,
        f"x of shape [{rows}, time, {bench.width}]",
        f"{shape}",
        "embed every unit into `width` channels, the width that the constructor was given",
    )
    _expect_finite(inputs.x, "x", "scale what is read; missing values are not nan but masked")
    units, attend = shape[:2], inputs.attend
    for name, value, boolean in (
        ("attend.padding", attend.padding, True),
        ("attend.segments", attend.segments, False),
        ("positions", inputs.positions, False),
    ):
        if value is not None:
            right = not value.is_floating_point() and (value.dtype == torch.bool) == boolean
            expect(
                list(value.shape) == units and right,
                f"{name} of shape {units}, {'boolean' if boolean else 'whole numbers'}",
                f"{list(value.shape)} of {value.dtype}",
                "one value per unit; padding is true where there IS a unit",
            )
    if inputs.cond is not None:
        expect(
            list(inputs.cond.shape) == [rows, bench.width],
            f"cond of shape {[rows, bench.width]}",
            f"{list(inputs.cond.shape)}",
            "one condition per row, embedded into `width` channels",
        )


@check(embed_returns_what_the_core_reads)
def predict_returns_a_distribution_per_unit(bench: Bench) -> None:
    """`predict` returns a distribution of batch shape `[b t]` that can be drawn from and scored."""
    units = list(bench.inputs.x.shape[:2])
    prediction = bench.prediction(bench.model())
    expect(
        isinstance(prediction, Distribution),
        "a torch.distributions.Distribution",
        type(prediction).__name__,
        "wrap logits in Categorical(logits=...), a mean in Normal(mean, scale)",
    )
    if bench.thinks_itself:
        return
    expect(
        list(prediction.batch_shape) == units,
        f"batch_shape {units}, one prediction per unit",
        f"batch_shape {list(prediction.batch_shape)}",
        "axes of one unit belong to the event: Independent(distribution, number_of_axes)",
    )
    score = prediction.log_prob(prediction.sample())
    expect(
        list(score.shape) == units and bool(score.isfinite().all()),
        f"finite log_prob of shape {units} for what it draws",
        f"shape {list(score.shape)}, {int((~score.isfinite()).sum())} not finite",
        "keep scales away from zero and infinity (softplus, clamp)",
    )


@check(predict_returns_a_distribution_per_unit)
def loss_is_one_finite_number_per_unit(bench: Bench) -> None:
    """`loss` returns an `Outcome` with a finite loss and a weight for every unit."""
    outcome = bench.outcome(bench.model())
    expect(
        isinstance(outcome, Outcome),
        "loss to return an Outcome",
        type(outcome).__name__,
        "return Outcome(losses, weights, prediction=prediction), both of shape [b, t]",
    )
    shape, rows = list(outcome.losses.shape), bench.batch.batch_size[0]
    units = list(bench.inputs.x.shape[:2])
    expect(
        shape[:1] == [rows] if bench.thinks_itself else shape == units,
        f"losses of shape {[rows, '...'] if bench.thinks_itself else units}",
        f"{shape}",
        "do not reduce: one loss per unit (reduction='none'); Outcome.loss is the mean",
    )
    expect(
        outcome.weights.shape == outcome.losses.shape,
        f"weights of the shape of losses, {shape}",
        f"{list(outcome.weights.shape)}",
        "torch.ones_like(losses) where every unit counts, 0 for padding",
    )
    counts = bool((outcome.weights >= 0).all()) and bool((outcome.weights > 0).any())
    expect(
        counts,
        "weights of 0 or more, some above 0",
        f"weights from {float(outcome.weights.min())} to {float(outcome.weights.max())}",
        "a batch in which nothing counts teaches nothing",
    )
    _expect_finite(outcome.losses, "losses", "also where the weight is 0: 0 * nan is nan")
    _expect_finite(outcome.loss, "loss", "look at the penalty")


@check(loss_is_one_finite_number_per_unit)
def loss_is_deterministic(bench: Bench) -> None:
    """In evaluation the same batch has the same losses, whatever the global generators say."""
    model = bench.model()
    first, second = (bench.outcome(model, chance=chance).losses for chance in (1, 2))
    expect(
        torch.equal(first, second),
        "the same losses twice",
        f"losses that differ by up to {float((first - second).abs().max()):.3g}",
        "draw in prepare, from its generator, and pass it on in the batch; "
        "embed, predict and loss draw nothing",
    )


@check(loss_is_deterministic)
def loss_is_a_mean(bench: Bench) -> None:
    """A batch and the same batch twice have the same loss: it is a mean, not a sum."""
    model = bench.model()
    once = float(bench.outcome(model).loss)
    twice = float(
        bench.outcome(model, bench.batch[torch.arange(bench.batch.batch_size[0]).repeat(2)]).loss
    )
    expect(
        close(once, twice),
        f"the loss {once:.6g} again for the batch with every row twice",
        f"{twice:.6g}",
        "do not multiply or divide by the size of the batch; a penalty is a mean as well",
    )


def _expect_finite(value: Tensor, name: str, remedy: str) -> None:
    broken = int((~value.isfinite()).sum())
    expect(broken == 0, f"finite {name}", f"{broken} values that are not", remedy)


def close(one: float, other: float) -> bool:
    """Whether two losses differ by arithmetic at most."""
    return abs(one - other) <= TOLERANCE * (1 + abs(one))

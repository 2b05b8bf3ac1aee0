"""Checks of a domain in training: gradients, loops, precision, and that it learns at all."""

import math

import torch
from torch import Tensor

from loopverse.depth import Every, Full
from loopverse.domain import Outcome
from loopverse.model import LoopedModel
from loopverse.testing.bench import LOOPS, Bench, global_seed
from loopverse.testing.checking import check
from loopverse.testing.declaration import metric_is_declared_and_lower_is_better
from loopverse.testing.failure import expect
from loopverse.testing.prediction import loss_is_one_finite_number_per_unit

STEPS = 30
"""Steps of training on one batch."""
RATE = 3e-3
"""Learning rate of these steps."""


@check(loss_is_one_finite_number_per_unit)
def gradients_reach_every_parameter(bench: Bench) -> None:
    """Within four steps every parameter, of adapter and core, has had a gradient that is not zero."""
    model = bench.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    unreached, reached = dict.fromkeys(trained, "none at all"), set()
    for _ in range(4):  # a head that starts at zero lets nothing through at first
        optimizer.zero_grad()
        _outcome(model, bench).loss.backward()
        for name, parameter in trained.items():
            if parameter.grad is not None:
                expect(
                    bool(parameter.grad.isfinite().all()),
                    f"a finite gradient of {name}",
                    "one with infinite or undefined values",
                    "look for sqrt, log, norm or division at zero; clamp before, not after",
                )
                unreached[name] = "zero"
                if parameter.grad.any():
                    reached.add(name)
        optimizer.step()
    missing = {name: what for name, what in unreached.items() if name not in reached}
    expect(
        not missing,
        "a gradient for every parameter",
        ", ".join(f"{what} for {name}" for name, what in list(missing.items())[:3])
        + (f" and {len(missing) - 3} others" if len(missing) > 3 else ""),
        "likely a detach, no_grad, argmax or rounding on the way, or a parameter that nothing "
        "uses: remove it, or set requires_grad=False",
    )


@check(loss_is_one_finite_number_per_unit)
def any_number_of_loops_works(bench: Bench) -> None:
    """One to three loops, one depth per sequence and a loss on every loop all give a finite loss."""
    plain, supervised = bench.model(), bench.model(Every())
    mixed = torch.arange(bench.batch.batch_size[0]) % 3 + 1
    for depth, model in (
        *((1, plain), (2, plain), (3, plain), (mixed, plain)),
        *((1, supervised), (3, supervised)),
    ):
        said = f"loops per sequence {mixed.tolist()}" if depth is mixed else f"{depth} loops"
        said += ", a loss on every one" if model is supervised else ""
        loss = float(_outcome(model, bench, depth).loss.detach())
        expect(
            math.isfinite(loss),
            f"a finite loss with {said}",
            f"{loss}",
            "count on no particular number of loops or readouts",
        )


@check(gradients_reach_every_parameter)
def bf16_is_finite(bench: Bench) -> None:
    """A step under bfloat16 autocast runs, and its loss and gradients are finite."""
    model = bench.model()
    with torch.autocast("cpu", torch.bfloat16):
        loss = _outcome(model, bench).loss
    loss.backward()
    broken = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not parameter.grad.isfinite().all()
    ]
    expect(
        math.isfinite(float(loss.detach())) and not broken,
        "a finite loss and finite gradients",
        f"loss {float(loss.detach())}" + (f", and not in {broken[0]}" if broken else ""),
        "compute logs, exponentials and small differences in .float()",
    )


@check(gradients_reach_every_parameter, metric_is_declared_and_lower_is_better)
def a_repeated_batch_is_learned(bench: Bench) -> None:
    """A few steps on one batch lower its loss, in training and in use."""
    _, first, last, _ = _trained(bench)
    expect(
        last < first - 0.01 * abs(first),
        f"a loss clearly below {first:.5g} after {STEPS} steps on one batch",
        f"{last:.5g}",
        "likely inputs or logits are far from unit scale, or the gradient has the wrong sign",
    )


@check(a_repeated_batch_is_learned)
def metric_falls_with_the_loss(bench: Bench) -> None:
    """The headline metric is a finite number that does not rise while the loss falls."""
    before, first, last, after = _trained(bench)
    name = bench.adapter_class.metric
    expect(
        math.isfinite(before) and math.isfinite(after),
        f"a finite {name}",
        f"{before} before and {after} after training",
        "update it in measure(), from outcome, with weights",
    )
    expect(
        after <= before + 1e-6 * abs(before),
        f"{name} to fall from {before:.5g} as the loss falls from {first:.4g} to {last:.4g}",
        f"{after:.5g}",
        "lower must be better: report an error or a negative log-likelihood, not an accuracy",
    )


def _trained(bench: Bench) -> tuple[float, float, float, float]:
    """Metric before, first loss, last loss, metric after training on one batch."""
    model = bench.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    before, losses = _measured(model, bench), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = _outcome(model, bench).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return before, losses[0], float(bench.outcome(model).loss), _measured(model, bench)


def _measured(model: LoopedModel, bench: Bench) -> float:
    """The headline metric of the batch."""
    outcome = bench.outcome(model)
    metrics = model.adapter.metrics()
    with torch.no_grad():
        model.adapter.measure(metrics, outcome, bench.batch)
    return float(metrics[bench.adapter_class.metric].compute())


def _outcome(model: LoopedModel, bench: Bench, depth: int | Tensor = LOOPS) -> Outcome:
    """The outcome of the batch as training computes it."""
    with global_seed(0):
        return model(bench.batch, depth, Full(), torch.Generator().manual_seed(0))

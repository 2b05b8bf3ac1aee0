"""A loss behind a loop, and ways to differentiate it that owe nothing to the code under test."""

import torch
from depth.maps import Contraction, inputs
from torch import Tensor

from loopverse.depth import LoopPlan, LoopResult, iterate

CLOSE = {"atol": 1e-10, "rtol": 1e-9}
Gradients = dict[str, Tensor]


class Problem:
    """A loss on the state of a contraction, and its gradient for weights, input and start."""

    def __init__(self, batch: int = 3, bound: float = 0.5) -> None:
        self.module = Contraction(bound=bound)
        self.e = inputs(batch).requires_grad_()
        self.start = inputs(batch, seed=1).requires_grad_()
        self.readout = inputs(batch, seed=2)

    def loss(self, z: Tensor) -> Tensor:
        return (z * self.readout).sum() + z.pow(3).sum()

    def solved(self, plan: LoopPlan) -> tuple[Gradients, LoopResult]:
        result = iterate(self.module.on(self.e), self.start, plan)
        return self.of(self.loss(result.z)), result

    def of(self, loss: Tensor) -> Gradients:
        leaves = {"weight": self.module.weight, "input": self.e, "start": self.start}
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        return {
            name: torch.zeros_like(leaf) if gradient is None else gradient
            for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
        }

    def by_hand(self, silent: int, recorded: int, damping: float = 1.0) -> Gradients:
        """Backpropagation through the last `recorded` steps of a loop written out here."""
        step, z = self.module.on(self.e), self.start
        with torch.no_grad():
            for i in range(silent):
                z = step(z, i, None)
        for i in range(recorded):
            after = step(z, i, None)
            z = after if damping == 1 else damping * after + (1 - damping) * z
        return self.of(self.loss(z))

    def by_differences(self, loops: int, size: float = 1e-6) -> Gradients:
        """Central finite differences of the loss after `loops` loops, one number at a time."""
        found = {}
        leaves = {"weight": self.module.weight, "input": self.e, "start": self.start}
        with torch.no_grad():
            for name, leaf in leaves.items():
                gradient = torch.zeros_like(leaf).flatten()
                for n in range(len(gradient)):
                    sides, value = [], leaf.view(-1)[n].clone()
                    for move in (size, -size):
                        leaf.view(-1)[n] = value + move
                        z = iterate(self.module.on(self.e), self.start, LoopPlan(loops)).z
                        sides.append(self.loss(z))
                    leaf.view(-1)[n] = value
                    gradient[n] = (sides[0] - sides[1]) / (2 * size)
                found[name] = gradient.view_as(leaf)
        return found


def assert_close(ours: Gradients, others: Gradients, **tolerance: float) -> None:
    for name, gradient in others.items():
        torch.testing.assert_close(
            ours[name],
            gradient,
            msg=lambda m, name=name: f"{name}: {m}",
            **(tolerance or CLOSE),
        )


def distance(ours: Gradients, others: Gradients) -> float:
    """Of the gradients for weights and input, relative."""
    difference = sum(float((ours[name] - others[name]).norm()) for name in ("weight", "input"))
    return difference / sum(float(others[name].norm()) for name in ("weight", "input"))

"""Strategies for differentiating through loops, each with its price in memory and time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from loopverse.depth.solve import Solution, solve

Step = Callable[..., Tensor]


@dataclass
class AdjointReport:
    """How well an implicit gradient was solved; the backward half is None until `backward()` ran.

    Attributes:
        forward_residual: `||f(z) - z|| / ||f(z)||` where the loop stopped; the implicit gradient
            is exact only where this is zero.
        solution: residual, steps and success of the backward solve.
    """

    forward_residual: Tensor
    solution: Solution | None = None


@dataclass
class LoopGradient:
    """Decides which loops are recorded for the backward pass. Subclasses are group `gradient`.

    `iterate` runs the loops in the given `segments`, each through `run`, and passes the final state
    through `attach`. The defaults are full backpropagation.
    """

    reaches_every_loop: ClassVar[bool] = True
    """Whether a loss on the state after any loop has a gradient; per-loop losses need it."""
    follows_halting: ClassVar[bool] = True
    """Whether the strategy still holds when an adaptive rule ends the loop early."""
    repeats_the_loop: ClassVar[bool] = False
    """Whether `attach` applies the last loop again, which must then be the same as all others."""

    def segments(self, depth: int) -> list[range]:
        """Consecutive runs of loop indices that together are `range(depth)`."""
        return [range(depth)]

    def wrap(self, step: Step) -> Step:
        """The step that the loop calls; called once a loop."""
        return step

    def run(
        self, advance: Callable[[Tensor], Tensor], z: Tensor, loops: range, depth: int
    ) -> Tensor:
        """Take `z [b t d]` through the loops of one segment."""
        return advance(z)

    def attach(
        self, step: Callable[[Tensor], Tensor], z: Tensor
    ) -> tuple[Tensor, AdjointReport | None]:
        """Give the final state `z [b t d]` its gradient, after all loops and outside any halting."""
        return z, None


@dataclass
class Full(LoopGradient):
    """Backpropagation through every loop. Memory grows with the depth."""


@dataclass
class Truncated(LoopGradient):
    """Backpropagation through the last loops only (Huginn: 8; Parcae: 4).

    With one depth per sequence, every sequence records its own last `loops` loops.

    Attributes:
        loops: loops that are recorded.
    """

    loops: int = 8
    reaches_every_loop: ClassVar[bool] = False
    follows_halting: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.loops < 1:
            raise ValueError(f"gradient.loops must be at least 1, got {self.loops}")

    def segments(self, depth: int) -> list[range]:
        silent = max(0, depth - self.loops)
        return [range(silent), range(silent, depth)] if silent else [range(depth)]

    def run(
        self, advance: Callable[[Tensor], Tensor], z: Tensor, loops: range, depth: int
    ) -> Tensor:
        with torch.set_grad_enabled(loops.stop == depth):
            return advance(z)


@dataclass
class Checkpointed(LoopGradient):
    """The full gradient, with activations recomputed in the backward pass.

    Loops are grouped into segments; the state is kept between segments, then between the loops
    of the one segment whose backward pass runs, then the activations of one loop: memory
    `depth/segment + segment` states and one loop, instead of `depth` loops.

    Attributes:
        segment: loops per segment. 1 keeps every state and computes each loop once more;
            0 chooses the square root of the depth, and computes nearly each loop twice more.

    Source: Chen et al. 2016 (1604.06174), section 4.
    """

    segment: int = 0
    follows_halting: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.segment < 0:
            raise ValueError(f"gradient.segment must be 0 (choose) or more, got {self.segment}")

    def segments(self, depth: int) -> list[range]:
        size = self.segment or max(1, round(math.sqrt(depth)))
        return [range(start, min(start + size, depth)) for start in range(0, depth, size)]

    def wrap(self, step: Step) -> Step:
        def recomputed(*arguments: object) -> Tensor:
            return checkpoint(step, *arguments, use_reentrant=False)

        return recomputed

    def run(
        self, advance: Callable[[Tensor], Tensor], z: Tensor, loops: range, depth: int
    ) -> Tensor:
        if len(loops) == 1 or loops.stop == depth:  # the last one is wanted again at once
            return advance(z)
        return checkpoint(advance, z, use_reentrant=False)


@dataclass
class Phantom(LoopGradient):
    """A few damped, recorded steps from a state found without recording.

    `z <- damping f(z) + (1 - damping) z`, `steps` times. Source: Geng et al. 2021 (2111.05177), eq. 8.

    Attributes:
        steps: recorded steps after the loop; each costs one loop more.
        damping: weight of the new state, in (0, 1].
    """

    steps: int = 4
    damping: float = 0.5
    reaches_every_loop: ClassVar[bool] = False
    repeats_the_loop: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"gradient.steps must be at least 1, got {self.steps}")
        if not 0 < self.damping <= 1:
            raise ValueError(f"gradient.damping must be in (0, 1], got {self.damping}")

    def run(
        self, advance: Callable[[Tensor], Tensor], z: Tensor, loops: range, depth: int
    ) -> Tensor:
        with torch.no_grad():
            return advance(z)

    def attach(self, step: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, None]:
        for _ in range(self.steps):
            z = self.damping * step(z) + (1 - self.damping) * z
        return z, None


@dataclass
class OneStep(Phantom):
    """One recorded step from a state found without recording (Fung et al. 2021, 2103.12803)."""

    steps: int = 1
    damping: float = 1.0


@dataclass
class Implicit(LoopGradient):
    """The gradient of the fixed point itself: solves `(I - J^T) u = dL/dz`, `J = df/dz`.

    Memory is that of one loop at any depth. Exact where the loop has converged; `AdjointReport`
    says how far from that it was, and whether the backward solve succeeded. Where it did not, the
    iterate that moved least is used: at worst the one-step gradient.
    Source: Bai et al. 2019 (1909.01377), theorem 1; Anderson acceleration as in Walker & Ni 2011.

    Attributes:
        tolerance: relative residual at which the backward solve stops.
        max_steps: vector-Jacobian products allowed.
        memory: past iterates mixed by Anderson acceleration; 0 is Picard iteration.
        damping: weight of the new iterate, in (0, 1].
    """

    tolerance: float = 1e-5
    max_steps: int = 50
    memory: int = 5
    damping: float = 1.0
    reaches_every_loop: ClassVar[bool] = False
    repeats_the_loop: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"gradient.max_steps must be at least 1, got {self.max_steps}")
        if self.memory < 0:
            raise ValueError(f"gradient.memory must be 0 (Picard) or more, got {self.memory}")
        if not 0 < self.damping <= 1:
            raise ValueError(f"gradient.damping must be in (0, 1], got {self.damping}")

    def run(
        self, advance: Callable[[Tensor], Tensor], z: Tensor, loops: range, depth: int
    ) -> Tensor:
        with torch.no_grad():
            return advance(z)

    def attach(self, step: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, AdjointReport]:
        settled = z.detach().requires_grad_()
        image = step(settled)
        with torch.no_grad():
            residual = (image - settled).norm() / image.norm().clamp(min=1e-30)
        report = AdjointReport(residual)

        def adjoint(incoming: Tensor) -> Tensor:
            def pull(u: Tensor) -> Tensor:
                return torch.autograd.grad(image, settled, u, retain_graph=True)[0] + incoming

            report.solution = solve(
                pull,
                incoming,
                tolerance=self.tolerance,
                max_steps=self.max_steps,
                memory=self.memory,
                damping=self.damping,
            )
            return report.solution.value

        # The hook sits on an alias, so that `pull` above, which starts at `image`, does not fire it.
        final = image.view_as(image)
        final.register_hook(adjoint)
        return final, report

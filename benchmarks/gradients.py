"""What every gradient through loops costs, and how far it is from the full one.

One step of a whole core (prelude, loops, coda; forward and backward) under every strategy, in turns:
the error of its gradient against full backpropagation at the same depth, the peak memory of the step,
and its time. Prints a Markdown table.

Memory is the largest sum of live bytes that PyTorch's CPU allocator reports between the start and the
end of a step, temporary buffers of kernels included. Weights, their gradients and the input are there
before the step and do not count: what remains are activations and what the backward pass makes of them.

Time is that of the processor, summed over threads: a busy machine changes it little.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive python benchmarks/gradients.py core=plain core.width=256
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from loopverse.depth import (
    AdjointReport,
    Checkpointed,
    Full,
    Implicit,
    LoopGradient,
    LoopPlan,
    OneStep,
    Phantom,
    Truncated,
)
from loopverse.nn import Attend, CoreInput, PositionNoise, RecurrentCore
from loopverse.training.compose import compose

ESTIMATORS: dict[str, LoopGradient] = {
    "full": Full(),
    "checkpointed, square root": Checkpointed(),
    "checkpointed, every loop": Checkpointed(segment=1),
    "truncated, 8 loops": Truncated(8),
    "truncated, 4 loops": Truncated(4),
    "phantom, 4 steps": Phantom(4),
    "one step": OneStep(),
    "implicit, Picard": Implicit(memory=0),
    "implicit, Anderson": Implicit(memory=5),
}
LIMIT = 1.3
"""What 32 loops may need of the memory of 4, both checkpointed."""


@dataclass
class Step:
    """Forward and backward of a core under one strategy, on the same input each time."""

    core: RecurrentCore
    x: Tensor
    target: Tensor
    plan: LoopPlan
    seconds: list[float] = field(default_factory=list)

    def run(self) -> AdjointReport | None:
        """Add the gradient of the mean squared distance to the target to `.grad`."""
        output = self.core(CoreInput(self.x, Attend()), self.plan, PositionNoise())
        (output.readouts[-1] - self.target).square().mean().backward()
        return output.result.adjoint

    def gradient(self) -> tuple[Tensor, AdjointReport | None]:
        """The gradient for all weights and the input, as one vector."""
        leaves = [*self.core.parameters(), self.x]
        for leaf in leaves:
            leaf.grad = torch.zeros_like(leaf)
        report = self.run()
        grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
        return torch.cat([grad.flatten() for grad in grads]).double(), report

    def time(self) -> None:
        """Note the processor seconds of one step."""
        start = time.process_time()
        self.run()
        self.seconds.append(time.process_time() - start)


def peak_bytes(action: Callable[[], object]) -> int:
    """The largest number of bytes alive at once that were allocated during `action`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        action()
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        # The bytes of an event are missing from PyTorch's own type stubs.
        alive += event.nbytes()  # type: ignore[attr-defined]
        most = max(most, alive)
    return most


def quality(ours: Tensor, full: Tensor, report: AdjointReport | None) -> str:
    """Cosine, relative distance, and what an implicit gradient says of itself, as table cells."""
    cosine = torch.nn.functional.cosine_similarity(ours.double(), full.double(), dim=0)
    distance = (ours - full).norm() / full.norm()
    said = "" if report is None else f"{float(report.forward_residual):.1e}"
    if report is not None and report.solution is not None:
        solution = report.solution
        said += f", {'solved' if solution.converged else 'not solved'} in {solution.steps}"
    return f"{float(cosine):.4f} | {float(distance):.1e} | {said}"


def main() -> None:
    parser = argparse.ArgumentParser(description="What every gradient through loops costs.")
    parser.add_argument(
        "overrides", nargs="*", help="settings of the core, as for `loopverse train`"
    )
    parser.add_argument("--loops", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    config = compose(arguments.overrides).core
    core = RecurrentCore(config)
    x = torch.randn(arguments.batch, arguments.length, config.width, requires_grad=True)
    target = torch.randn_like(x)

    def step(gradient: LoopGradient, loops: int) -> Step:
        return Step(core, x, target, LoopPlan(loops, gradient=gradient))

    print(
        f"Core: {' '.join(arguments.overrides)}; {arguments.batch} x {arguments.length} units, "
        f"float32, {torch.get_num_threads()} threads; weights as initialised.\n"
    )
    few = {name: step(gradient, 4) for name, gradient in list(ESTIMATORS.items())[:2]}
    memory = {("full", 4): 0, ("checkpointed, square root", 4): 0}
    for name, shallow in few.items():
        shallow.gradient()
        memory[name, 4] = peak_bytes(shallow.run)
    for loops in arguments.loops:
        steps = {name: step(gradient, loops) for name, gradient in ESTIMATORS.items()}
        full, _ = steps["full"].gradient()
        cells = {}
        for name, one in steps.items():
            ours, report = one.gradient()
            cells[name] = quality(ours, full, report)
            memory[name, loops] = peak_bytes(one.run)
        for _ in range(arguments.repeats):
            for one in steps.values():
                one.time()
        slowest = statistics.median(steps["full"].seconds)
        print(f"### {loops} loops\n")
        print(
            "| gradient | cosine | error | settled, adjoint | memory MiB | of full | CPU s | of full |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for name, one in steps.items():
            mebibytes, seconds = memory[name, loops] / 2**20, statistics.median(one.seconds)
            print(
                f"| {name} | {cells[name]} | {mebibytes:.0f} | "
                f"{memory[name, loops] / memory['full', loops]:.2f} | {seconds:.2f} | "
                f"{seconds / slowest:.2f} |"
            )
        print()
    deepest, checkpointed = max(arguments.loops), "checkpointed, square root"
    ratio = memory[checkpointed, deepest] / memory[checkpointed, 4]
    print(
        f"Checkpointed, {deepest} loops against 4: {ratio:.2f} times the memory "
        f"({'within' if ratio <= LIMIT else 'MISSES'} {LIMIT}); against the full gradient at 4 loops: "
        f"{memory[checkpointed, deepest] / memory['full', 4]:.2f}."
    )


if __name__ == "__main__":
    main()

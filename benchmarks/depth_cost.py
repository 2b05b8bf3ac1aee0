"""What a depth drawn anew at every step costs beyond the loops themselves.

Trains with Poisson depths, and with every depth that was drawn held fixed, in turns; compares the
time of the drawn steps with the sum of the fixed-depth step times for the same draws.

    python benchmarks/depth_cost.py training.compile=true
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict

import torch

from loopverse.training import train
from loopverse.training.compose import compose
from loopverse.training.progress import Reporter
from loopverse.training.rows import Row


class Stopwatch(Reporter):
    """Notes the depth and the seconds of every step."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []
        self._last: float | None = None
        self._depth: int | None = None

    def trained(self, row: Row) -> None:
        """Step n is reported when step n + 1 has been computed; what lies between is step n + 1."""
        now = time.perf_counter()
        if self._last is not None:
            self.steps.append((self._waiting(row), now - self._last))
        self._last = now

    def _waiting(self, row: Row) -> int:
        return int(row["depth"])


def timed(overrides: list[str], steps: int) -> list[tuple[int, float]]:
    """Depth and seconds of each step of a run, the first (which compiles) and last left out."""
    with tempfile.TemporaryDirectory() as runs:
        watch = Stopwatch()
        config = compose(
            [
                f"training.steps={steps}",
                f"training.evaluate_every={steps * 10}",
                f"training.checkpoint_every={steps * 10}",
                "training.valid_batches=1",
                "training.trackers=[]",
                f"runs={runs}",
                *overrides,
            ]
        )
        train(config, reporter=watch)
    return watch.steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100, help="steps with drawn depth per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mean", type=int, default=4, help="mean of the Poisson depth")
    parser.add_argument("overrides", nargs="*", help="settings, such as training.compile=true")
    options = parser.parse_intermixed_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.overrides}")
    print("| round | drawn depths, s | sum of fixed-depth steps, s | ratio |")
    print("|---|---|---|---|")
    ratios = []
    for number in range(options.rounds):
        # The first steps compile; they are drawn, timed and left out on both sides.
        poisson = ["schedule=poisson", f"schedule.mean={options.mean}", f"seed={number}"]
        drawn = timed([*poisson, *options.overrides], options.steps + 11)[10:-1]
        fixed: dict[int, float] = {}
        for depth in sorted({depth for depth, _ in drawn}):
            constant = ["schedule=constant", f"schedule.loops={depth}", *options.overrides]
            seconds = [s for _, s in timed(constant, 18)[5:-1]]
            fixed[depth] = statistics.median(seconds)
        typical: dict[int, list[float]] = defaultdict(list)
        for depth, seconds in drawn:
            typical[depth].append(seconds)
        spent = sum(seconds for _, seconds in drawn)
        expected = sum(fixed[depth] for depth, _ in drawn)
        by_median = sum(statistics.median(typical[depth]) for depth, _ in drawn)
        ratios.append(spent / expected)
        print(
            f"| {number + 1} | {spent:.2f} | {expected:.2f} | {spent / expected:.3f} "
            f"(medians of both: {by_median / expected:.3f}) |",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()

"""What a depth drawn anew at every step costs beyond the loops themselves.

One run of `train()` follows a list of depths. In each round, steps with Poisson depths and steps at
the same depths in another order, every depth held fixed for as long as it was drawn, take turns.
Drawn steps come first in every other round, so that a machine that slows down slows both. Each
constant stretch has one more step at its beginning, at which the depth changes: it is left out.

    python benchmarks/depth_cost.py --rounds 20 training.compile=true
"""

import argparse
import random
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from unittest import mock

import torch

from loopverse.depth import LoopSchedule, Poisson
from loopverse.training import train
from loopverse.training.compose import compose
from loopverse.training.config import GROUPS

RESAMPLES = 10_000


@dataclass
class Listed(LoopSchedule):
    """Depths that were written down beforehand.

    Attributes:
        depths: of every step of the run.
    """

    depths: list[int] = field(default_factory=list)

    def draw(self, batch_size: int, *, progress: float = 1.0, **_: Any) -> int:
        return self.depths[min(round(progress * len(self.depths)), len(self.depths) - 1)]

    def typical(self) -> int:
        return min(self.depths)

    def largest(self) -> int:
        return max(self.depths)


@dataclass(frozen=True)
class Turn:
    """A step of the run, and what it is counted as.

    Attributes:
        depth: its loops.
        round: from 0; -1 for the steps before the first.
        kind: "drawn", "held" or "left out".
    """

    depth: int
    round: int
    kind: str


def turns(rounds: int, steps: int, mean: float, seed: int = 0) -> list[Turn]:
    """Every step of the run: all depths twice, which compiles and allocates, then the rounds."""
    schedule, rng = Poisson(mean), torch.Generator().manual_seed(seed)
    order = random.Random(seed)
    planned: list[Turn] = []
    for number in range(rounds):
        depths = [int(schedule.draw(1, rng=rng)) for _ in range(steps)]
        drawn = [Turn(depth, number, "drawn") for depth in depths]
        held: list[Turn] = []
        counts = list(Counter(depths).items())
        order.shuffle(counts)
        for depth, count in counts:
            held += [Turn(depth, number, "left out"), *[Turn(depth, number, "held")] * count]
        planned += [*held, *drawn] if number % 2 else [*drawn, *held]
    known = sorted({turn.depth for turn in planned})
    return [*(Turn(depth, -1, "left out") for depth in known * 2), *planned]


def timed(planned: Sequence[Turn], overrides: Sequence[str]) -> list[float]:
    """Seconds of every step of one run, from the end of the step before to its own."""
    steps = len(planned)
    with (
        tempfile.TemporaryDirectory() as runs,
        mock.patch.dict(GROUPS["schedule"], listed=Listed),
    ):
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
        config.schedule = Listed([turn.depth for turn in planned])
        rows = train(config).folder.rows.read("train")
    assert [row["depth"] for row in rows] == config.schedule.depths
    return [after - before for before, after in pairwise([0.0, *(row["seconds"] for row in rows)])]


@dataclass
class Times:
    """Seconds of the steps that count.

    Attributes:
        rounds: sums of the drawn and of the held steps, by round.
        depths: of every drawn and of every held step, by depth.
    """

    rounds: dict[int, dict[str, float]]
    depths: dict[int, dict[str, list[float]]]

    @classmethod
    def of(cls, planned: Sequence[Turn], seconds: Sequence[float]) -> "Times":
        rounds: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        depths: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for turn, spent in zip(planned, seconds, strict=True):
            if turn.kind != "left out":
                rounds[turn.round][turn.kind] += spent
                depths[turn.depth][turn.kind].append(spent)
        return cls(dict(rounds), dict(sorted(depths.items())))

    def ratio(self, rounds: Sequence[int] | None = None) -> float:
        """All drawn steps over all held ones, of all rounds or of some."""
        chosen = [self.rounds[number] for number in (self.rounds if rounds is None else rounds)]
        return sum(sums["drawn"] for sums in chosen) / sum(sums["held"] for sums in chosen)

    def ratio_of_medians(self) -> float:
        """The same with every step at the median of its kind and depth: deaf to interruptions."""
        totals = {
            kind: sum(len(one[kind]) * statistics.median(one[kind]) for one in self.depths.values())
            for kind in ("drawn", "held")
        }
        return totals["drawn"] / totals["held"]

    def interval(self) -> tuple[float, float]:
        """95 % of the ratios of as many rounds, drawn from ours with replacement."""
        rng, rounds = random.Random(0), list(self.rounds)
        ratios = sorted(self.ratio(rng.choices(rounds, k=len(rounds))) for _ in range(RESAMPLES))
        return ratios[int(0.025 * RESAMPLES)], ratios[int(0.975 * RESAMPLES)]


def show(times: Times, steps: int) -> None:
    print("\n| round | drawn depths, s | the same held fixed, s | ratio |\n|---|---|---|---|")
    for number, sums in times.rounds.items():
        print(
            f"| {number + 1} | {sums['drawn']:.2f} | {sums['held']:.2f} "
            f"| {sums['drawn'] / sums['held']:.3f} |"
        )
    print("\n| depth | steps of each | drawn, median ms | held, median ms | ratio |")
    print("|---|---|---|---|---|")
    for depth, kinds in times.depths.items():
        drawn, held = (1000 * statistics.median(kinds[kind]) for kind in ("drawn", "held"))
        count = len(kinds["drawn"])
        print(f"| {depth} | {count} | {drawn:.1f} | {held:.1f} | {drawn / held:.3f} |")
    low, high = times.interval()
    print(
        f"\n{len(times.rounds)} rounds of {steps} steps: ratio of sums {times.ratio():.3f} "
        f"({low:.3f} to {high:.3f}: 95 %, bootstrap over rounds), "
        f"of medians by depth {times.ratio_of_medians():.3f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100, help="steps with drawn depth per round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--mean", type=float, default=4, help="mean of the Poisson depth")
    parser.add_argument("--seed", type=int, default=0, help="of the depths")
    parser.add_argument("overrides", nargs="*", help="settings, such as training.compile=true")
    options = parser.parse_intermixed_args(arguments)
    planned = turns(options.rounds, options.steps, options.mean, options.seed)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(planned)} steps, "
        f"{' '.join(options.overrides) or 'default settings'}",
        flush=True,
    )
    show(Times.of(planned, timed(planned, options.overrides)), options.steps)


if __name__ == "__main__":
    main()

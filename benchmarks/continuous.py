"""What generation in places makes of the loops that early exits save, for a queue of prompts.

Prompts of mixed length are continued by as many tokens each, under a rule by which tokens have mixed depths:
`scripted`, uniform in 1 to the deepest, from the digits of the state after the first loop, so that it costs
nothing and does not depend on who is beside whom; or a rule of the library. Three ways are timed, in turns,
medians of processor time: in step, `places` prompts at a time; in places; and the machine rate, the time
that the same work takes in full batches: with `T(n)` the time of all tokens after the prompts, in step, in
full batches of `places` at `n` loops without a rule, one loop is `(T(deepest) - T(1)) / (deepest - 1)` and
what is outside of the loop (prelude, coda, prediction, drawing) `T(1)` less a loop, so that

    theoretical = prompts, read in batches under the rule + outside + mean depth x one loop.

Lengths of caches are those of the texts, padded to the longest of a batch. `equal` compares the tokens and
depths of every text with those of it alone, in float64.

    OMP_NUM_THREADS=1 python benchmarks/continuous.py
    OMP_NUM_THREADS=1 python benchmarks/continuous.py --places 8 core.width=128 core.num_heads=2
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loopverse.depth import FixedDepth, FixedPoint, Halting, LoopResult, PredictionKL
from loopverse.domain import SampleSettings
from loopverse.memory import keep_freed_memory
from loopverse.model import LoopedModel
from loopverse.training import build_model
from loopverse.training.compose import compose
from loopverse_autoregressive import (
    Autoregressive,
    CachedReader,
    PlacesReader,
    generate,
    generate_in_places,
)

RULES: dict[str, Halting] = {
    "fixed_point": FixedPoint(0.25),
    "prediction_kl": PredictionKL(1e-4),
    "fixed_depth": FixedDepth(),
}
CORE = ["core.width=256", "core.num_heads=4"]


@dataclass
class Scripted(Halting):
    """Each unit gets a depth uniform in 1 to `deepest`, from digits of its state after one loop."""

    deepest: int = 8
    adaptive = True
    mixes_loops = True

    def begin(self, z: Tensor) -> dict[str, Tensor]:
        return {"when": torch.zeros(z.shape[:2], dtype=torch.long)}

    def update(
        self, memory: Any, before: Tensor, after: Tensor, i: Any, read: Any, head: Any
    ) -> tuple[Any, Tensor]:
        if isinstance(i, int) and i == 0:
            share = (after[..., 0] * 1000) % 1
            memory = {"when": 1 + (share * self.deepest).long().clamp(max=self.deepest - 1)}
        return memory, memory["when"] <= i + 1


class Timed(CachedReader):
    """Notes how much of the time went into the prompts."""

    seconds = 0.0
    begun = False

    def read(self, tokens: Tensor, present: Tensor) -> Tensor:
        began = time.process_time()
        scores = super().read(tokens, present)
        if not self.begun:
            self.begun, self.seconds = True, time.process_time() - began
        return scores


@dataclass
class Work:
    """Prompts, and how they are continued.

    Attributes:
        model: that continues them.
        prompts: ids.
        settings: how many tokens.
        deepest: loops at most.
        places: texts at once.
    """

    model: LoopedModel
    prompts: list[Tensor]
    settings: SampleSettings
    deepest: int
    places: int

    @property
    def adapter(self) -> Autoregressive:
        assert isinstance(self.model.adapter, Autoregressive)
        return self.model.adapter

    def in_step(
        self, rule: Halting, loops: int, rows: Sequence[int], note: list[LoopResult] | None = None
    ) -> tuple[dict[int, list[int]], float, float]:
        """The tokens of some prompts, the time of the prompts, and that of the rest."""
        adapter = self.adapter
        think = self.model.bind(loops, halting=rule, observe=None if note is None else note.append)
        reader = Timed(adapter.embed_tokens, think, adapter.predict)
        began, found = time.process_time(), {row: [] for row in rows}
        prompts = [self.prompts[row] for row in rows]
        for row, token in generate(
            reader, prompts, adapter.tokenizer, self.settings, adapter.config.context, rows
        ):
            found[row].append(token)
        return found, reader.seconds, time.process_time() - began - reader.seconds

    def in_batches(self, rule: Halting, loops: int) -> tuple[float, float]:
        """The time of the prompts, and that of the rest, `places` of them after another."""
        numbers = range(len(self.prompts))
        starts = range(0, len(numbers), self.places)
        taken = [self.in_step(rule, loops, numbers[i : i + self.places])[1:] for i in starts]
        return sum(prompts for prompts, _ in taken), sum(rest for _, rest in taken)

    def in_places(
        self, rule: Halting, note: list[LoopResult] | None = None
    ) -> tuple[dict[int, list[int]], float]:
        """The tokens of all prompts, and the time."""
        adapter = self.adapter
        observe = None if note is None else note.append
        think = self.model.bind(self.deepest, halting=rule, observe=observe)
        room = max(map(len, self.prompts)) + self.settings.length
        began, found = time.process_time(), {row: [] for row in range(len(self.prompts))}
        reader = PlacesReader(adapter.embed_tokens, think, adapter.predict, self.places, room)
        for row, token in generate_in_places(
            reader, self.prompts, adapter.tokenizer, self.settings, adapter.config.context
        ):
            found[row].append(token)
        return found, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--places", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--length", type=int, default=48)
    parser.add_argument("--loops", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    names = ["scripted", *RULES]
    parser.add_argument("--rules", nargs="+", choices=names, default=names)
    parser.add_argument("--no-equal", dest="equal", action="store_false")
    parser.add_argument("words", nargs="*", default=CORE, help="settings of the core")
    options = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    model = build_model(compose(list(options.words))).eval()
    rng = torch.Generator().manual_seed(0)
    lengths = torch.randint(8, 65, (options.prompts,), generator=rng).tolist()
    prompts = [torch.randint(0, 256, (length,), generator=rng) for length in lengths]
    weight = model.adapter.get_parameter("head.weight")
    weight.data[256:] = 0  # a separator is as rare as any token
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {' '.join(options.words)}"
    )
    print(
        "| rule | places | mean depth | in step, s | in places, s | theoretical, s | in step / theoretical "
        "| in places / theoretical | equal |\n|---|---|---|---|---|---|---|---|---|"
    )
    rules = RULES | {"scripted": Scripted(options.loops)}
    for name in options.rules:
        rule = rules[name]
        for places in options.places:
            settings = SampleSettings(length=options.length, temperature=1.0)
            work = Work(model, prompts, settings, options.loops, places)
            line = _line(work, rule, options.repeats)
            equal = _equal(work, rule) if options.equal else "not asked"
            print(f"| {name} | {places} | {line} | {equal} |", flush=True)


def _line(work: Work, rule: Halting, repeats: int) -> str:
    noted: list[LoopResult] = []
    work.in_places(rule, noted)
    loops = torch.cat([result.depth.flatten() for result in noted if result.rows is not None])
    mean = float(loops.float().mean())
    ways: list[Callable[[], tuple[float, float]]] = [
        lambda: work.in_batches(rule, work.deepest),
        lambda: (0.0, work.in_places(rule)[1]),
        lambda: work.in_batches(FixedDepth(), work.deepest),
        lambda: work.in_batches(FixedDepth(), 1),
    ]
    taken = [[way() for way in ways] for _ in range(repeats)]
    (read, step), (_, places), (_, whole), (_, one) = (
        [statistics.median(way[part] for way in column) for part in (0, 1)]
        for column in zip(*taken, strict=True)
    )
    loop = (whole - one) / (work.deepest - 1)
    ideal = read + one - loop + mean * loop
    step = read + step
    return f"{mean:.2f} | {step:.2f} | {places:.2f} | {ideal:.2f} | {ideal / step:.2f} | {ideal / places:.2f}"


def _equal(work: Work, rule: Halting) -> str:
    """Of how many texts the tokens are those of the text alone."""
    work.model.double()
    together, _ = work.in_places(rule)
    alone = {row: work.in_step(rule, work.deepest, [row])[0][row] for row in together}
    work.model.float()
    return f"{sum(together[row] == alone[row] for row in alone)} of {len(alone)}"


if __name__ == "__main__":
    main()

"""What early exits save in seconds, against what they save in loops.

A scripted rule says when each unit halts, so that no rule's own cost or quality enters. The theoretical
speed-up is `T(n) / (outside + mean loops x one loop)`, with the time of one loop and of what is outside of
the loop from the same core at 1 and at `n` loops without a rule. In turns; medians of processor time.

Generation begins after the prompts. Without a rule it is in step, in full batches of so many rows; with
one it is in places, of which there are as many, and a single row is read by itself.

    OMP_NUM_THREADS=1 python benchmarks/adaptive.py
    OMP_NUM_THREADS=2 python benchmarks/adaptive.py --cases rows units
    OMP_NUM_THREADS=1 python benchmarks/adaptive.py --cases generation size=medium
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loopverse.depth import LoopPlan
from loopverse.depth.halting import FixedDepth, Halting
from loopverse.memory import keep_freed_memory
from loopverse.nn import Attend, CoreInput, KVCache, Places, PositionNoise, RecurrentCore
from loopverse.training import build_model
from loopverse.training.compose import compose

NOISE = PositionNoise()
PROMPT = 32
How = dict[str, Any]
"""Settings that all rules have."""


@dataclass(eq=False)
class Scripted(Halting):
    """Halts each unit after the loop that a table names, `[b t]`."""

    table: Tensor
    adaptive = True

    def begin(self, z: Tensor) -> dict[str, Tensor]:
        return {"when": self.table}

    def update(
        self, memory: Any, before: Tensor, after: Tensor, i: int, read: Any, head: Any
    ) -> tuple[Any, Tensor]:
        return memory, memory["when"] <= i + 1


@dataclass
class Case:
    """One comparison.

    Attributes:
        name: for the table.
        table: when each unit halts, `[b t]`.
        deepest: loops without a rule.
        run: what is timed, given a number of loops and when units halt; no table: no rule.
    """

    name: str
    table: Tensor
    deepest: int
    run: Callable[[int, Tensor | None], None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = {"rows": _rows, "units": _units, "generation": _generation, "denoising": _denoising}
    kinds["planning"] = _planning
    parser.add_argument("--cases", nargs="+", choices=kinds, default=list(kinds))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--kv", default="copy", help="see halting.kv")
    parser.add_argument("--shrink", default="always", help="see halting.shrink")
    parser.add_argument("--late", action="store_true", help="see halting.late")
    parser.add_argument("overrides", nargs="*", help="settings of all models, such as size=medium")
    options = parser.parse_intermixed_args()
    keep_freed_memory()
    torch.manual_seed(0)
    how = {"kv": options.kv, "shrink": options.shrink, "late": options.late}
    said = " ".join([*(f"{name}={value}" for name, value in how.items()), *options.overrides])
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {said}")
    print(
        "| case | mean loops | all loops, ms | exits, ms | theoretical | realised | realised / theoretical "
        "| a rule that never fires |\n|---|---|---|---|---|---|---|---|"
    )
    for kind in options.cases:
        for case in kinds[kind](how, options.overrides):
            print(_line(case, options.repeats), flush=True)


@torch.inference_mode()
def _line(case: Case, repeats: int) -> str:
    never = torch.full_like(case.table, case.deepest + 1)
    ways: list[tuple[int, Tensor | None]] = [
        (case.deepest, None), (1, None), (case.deepest, case.table), (case.deepest, never)
    ]  # fmt: skip
    taken: list[list[float]] = [[] for _ in ways]
    for repeat in range(repeats + 1):
        for way, seconds in zip(ways, taken, strict=True):
            began = time.process_time()
            case.run(*way)
            if repeat:
                seconds.append(time.process_time() - began)
    whole, one, exits, idle = (statistics.median(seconds) for seconds in taken)
    loop = (whole - one) / (case.deepest - 1)
    mean = float(case.table.clamp(max=case.deepest).float().mean())
    ideal, real = whole / (one - loop + mean * loop), whole / exits
    return (
        f"| {case.name} | {mean:.2f} | {whole * 1e3:.1f} | {exits * 1e3:.1f} | {ideal:.2f} | {real:.2f} | "
        f"{real / ideal:.2f} | {idle / whole - 1:+.1%} |"
    )


def _core(*words: str) -> RecurrentCore:
    return build_model(compose(list(words))).eval().core


def _read(core: RecurrentCore, x: Tensor, causal: bool, how: How) -> Callable[..., None]:
    """All units of all rows in one call."""

    def run(loops: int, table: Tensor | None) -> None:
        core(CoreInput(x, Attend(causal)), _plan(loops, table, how), NOISE)

    return run


def _plan(loops: int, table: Tensor | None, how: How) -> LoopPlan:
    return LoopPlan(loops, halting=FixedDepth() if table is None else Scripted(table, **how))


def _by_row(loops: list[int], length: int) -> Tensor:
    return torch.tensor(loops)[:, None].expand(-1, length).clone()


def _rows(how: How, words: list[str]) -> Iterator[Case]:
    core = _core(*words)
    width = core.config.width
    for name, table, deepest in (
        ("8 rows, 7 exit at loop 1, 1 at loop 8", _by_row([8] + [1] * 7, 256), 8),
        ("64 rows, 63 exit at loop 1, 1 at loop 16", _by_row([16] + [1] * 63, 64), 16),
        ("32 rows, exits uniform in 1 to 8", _by_row(torch.randint(1, 9, (32,)).tolist(), 64), 8),
    ):
        yield Case(name, table, deepest, _read(core, torch.randn(*table.shape, width), True, how))


def _units(how: How, words: list[str]) -> Iterator[Case]:
    core = _core(*words)
    for rows in (1, 8):
        table = torch.randint(1, 9, (rows, 256))
        run = _read(core, torch.randn(rows, 256, core.config.width), True, how)
        yield Case(f"{rows} x 256 units, exits uniform in 1 to 8", table, 8, run)


def _generation(how: How, words: list[str]) -> Iterator[Case]:
    core, steps, loops = _core(*words), 48, 8
    for rows in (1, 8, 32):
        x = torch.randn(4 * rows, PROMPT + steps, core.config.width)
        table = torch.randint(1, loops + 1, (len(x), steps))
        run = Generation(core, x, rows, how).run
        yield Case(f"generation, {rows} of {len(x)} texts at a time, uniform", table, loops, run)


@dataclass(eq=False)
class Told(Scripted):
    """The same, of units that join those under way: the table is of these."""

    mixes_loops = True


class Generation:
    """Texts that have been read up to a point are read on, unit by unit, so many of them at a time.

    Without a table in step, one batch after another; with one in places, but for a single text, which
    waits for no other.
    """

    def __init__(self, core: RecurrentCore, x: Tensor, rows: int, how: How) -> None:
        self.core, self.x, self.rows, self.how = core, x, rows, how
        self.read: dict[int, list[KVCache]] = {}  # by loops, one for each batch

    def run(self, loops: int, table: Tensor | None) -> None:
        caches = self.read.get(loops)
        if caches is None:
            caches = self.read[loops] = [self._prompts(part, loops) for part in self._batches()]
        for cache in caches:  # of an earlier run
            cache.crop(PROMPT)
        if table is not None and self.rows > 1:
            self._in_places(loops, table, caches)
            return
        for number, (part, cache) in enumerate(zip(self._batches(), caches, strict=True)):
            for unit in range(PROMPT, part.shape[1]):
                inputs = CoreInput(part[:, unit : unit + 1], Attend(), cache=cache)
                plan = self._plan(loops)
                if table is not None:  # one row
                    plan = _plan(loops, table[number, unit - PROMPT].view(1, 1), self.how)
                self.core(inputs, plan, NOISE)

    def _in_places(self, loops: int, table: Tensor, caches: list[KVCache]) -> None:
        places, rule = Places(self.rows, self.x.shape[1]), Told(table[:0], **self.how)
        who, plan = [-1] * self.rows, LoopPlan(loops, halting=rule)
        waiting, free, going_on = list(range(len(self.x)))[::-1], list(range(self.rows)), []
        while waiting or going_on or len(places.roster.rows):
            while free and waiting:
                place, text = free.pop(), waiting.pop()
                places.admit(place, caches[text // self.rows], text % self.rows)
                who[place] = text
                going_on.append(place)
            rows, texts = torch.tensor(going_on), [who[place] for place in going_on]
            units = places.lengths[rows] if going_on else rows.long()
            rule.table = table[texts, units - PROMPT, None]
            inputs = CoreInput(
                self.x[texts, units][:, None], Attend(), places=places.at(rows.long())
            )
            done = self.core(inputs, plan, NOISE).result.rows
            ended = places.lengths[done] == self.x.shape[1]
            going_on = done[~ended].tolist()
            free += done[ended].tolist()

    def _prompts(self, part: Tensor, loops: int) -> KVCache:
        cache = KVCache()
        inputs = CoreInput(part[:, :PROMPT], Attend(), cache=cache)
        self.core(inputs, self._plan(loops), NOISE)
        return cache

    def _plan(self, loops: int) -> LoopPlan:
        return LoopPlan(loops, halting=FixedDepth(kv=self.how["kv"]))

    def _batches(self) -> tuple[Tensor, ...]:
        return self.x.split(self.rows)


def _denoising(how: How, words: list[str]) -> Iterator[Case]:
    core = _core("domain=masked_diffusion", *words)
    x = torch.randn(8, 128, core.config.width)
    table = torch.randint(1, 9, (8, 128))
    yield Case("denoising, 8 x 128 units, uniform", table, 8, _read(core, x, False, how))


def _planning(how: How, words: list[str]) -> Iterator[Case]:
    core = _core("domain=world_model", *words)
    table = torch.randint(1, 9, (500, 1))
    x = torch.randn(500, 1, core.config.width)
    yield Case("planning, 500 candidates, uniform", table, 8, _read(core, x, False, how))


if __name__ == "__main__":
    main()

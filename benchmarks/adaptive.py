"""What early exits save in seconds, against what they save in loops.

A scripted rule says when each unit halts, so that no rule's own cost or quality enters. The theoretical
speed-up is `T(n) / (outside + mean loops x one loop)`, with the time of one loop and of what is outside of
the loop from the same core at 1 and at `n` loops without a rule. In turns; medians.

    OMP_NUM_THREADS=1 python benchmarks/adaptive.py
    OMP_NUM_THREADS=2 python benchmarks/adaptive.py --cases rows units
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
from loopverse.nn import Attend, CoreInput, KVCache, PositionNoise, RecurrentCore
from loopverse.training import build_model
from loopverse.training.compose import compose

NOISE = PositionNoise()
PROMPT = 32


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
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, kv={options.kv}")
    print(
        "| case | mean loops | all loops, ms | exits, ms | theoretical | realised | realised / theoretical "
        "| a rule that never fires |\n|---|---|---|---|---|---|---|---|"
    )
    for kind in options.cases:
        for case in kinds[kind](options.kv):
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
            began = time.perf_counter()
            case.run(*way)
            if repeat:
                seconds.append(time.perf_counter() - began)
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


def _read(core: RecurrentCore, x: Tensor, causal: bool, kv: str) -> Callable[..., None]:
    """All units of all rows in one call."""

    def run(loops: int, table: Tensor | None) -> None:
        core(CoreInput(x, Attend(causal)), _plan(loops, table, kv), NOISE)

    return run


def _plan(loops: int, table: Tensor | None, kv: str) -> LoopPlan:
    return LoopPlan(loops, halting=FixedDepth() if table is None else Scripted(table, kv=kv))


def _by_row(loops: list[int], length: int) -> Tensor:
    return torch.tensor(loops)[:, None].expand(-1, length).clone()


def _rows(kv: str) -> Iterator[Case]:
    core = _core()
    width = core.config.width
    for name, table, deepest in (
        ("8 rows, 7 exit at loop 1, 1 at loop 8", _by_row([8] + [1] * 7, 256), 8),
        ("64 rows, 63 exit at loop 1, 1 at loop 16", _by_row([16] + [1] * 63, 64), 16),
        ("32 rows, exits uniform in 1 to 8", _by_row(torch.randint(1, 9, (32,)).tolist(), 64), 8),
    ):
        yield Case(name, table, deepest, _read(core, torch.randn(*table.shape, width), True, kv))


def _units(kv: str) -> Iterator[Case]:
    core = _core()
    for rows in (1, 8):
        table = torch.randint(1, 9, (rows, 256))
        run = _read(core, torch.randn(rows, 256, core.config.width), True, kv)
        yield Case(f"{rows} x 256 units, exits uniform in 1 to 8", table, 8, run)


def _generation(kv: str) -> Iterator[Case]:
    core, steps, loops = _core(), 48, 8
    for rows in (1, 8, 32):
        x = torch.randn(rows, PROMPT + steps, core.config.width)
        table = torch.randint(1, loops + 1, (rows, steps))

        def run(loops: int, table: Tensor | None, x: Tensor = x) -> None:
            cache = KVCache()
            core(CoreInput(x[:, :PROMPT], Attend(), cache=cache), LoopPlan(loops), NOISE)
            for step in range(steps):
                now = slice(PROMPT + step, PROMPT + step + 1)
                part = None if table is None else table[:, step : step + 1]
                core(CoreInput(x[:, now], Attend(), cache=cache), _plan(loops, part, kv), NOISE)

        yield Case(f"generation, {rows} rows, exits uniform in 1 to 8", table, loops, run)


def _denoising(kv: str) -> Iterator[Case]:
    core = _core("domain=masked_diffusion")
    x = torch.randn(8, 128, core.config.width)
    table = torch.randint(1, 9, (8, 128))
    yield Case("denoising, 8 x 128 units, uniform", table, 8, _read(core, x, False, kv))


def _planning(kv: str) -> Iterator[Case]:
    core = _core("domain=world_model")
    table = torch.randint(1, 9, (500, 1))
    x = torch.randn(500, 1, core.config.width)
    yield Case("planning, 500 candidates, uniform", table, 8, _read(core, x, False, kv))


if __name__ == "__main__":
    main()

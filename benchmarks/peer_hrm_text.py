"""What `transformers`' own looped model, HrmText, makes of loops that most rows do not need.

Its number of cycles is a setting of the model, the same for every row and token of a call: whoever wants
fewer for easy rows must know them beforehand and call it twice. So of 8 rows of which 7 need one cycle and 1
needs eight, it computes all in all eight. Beside it our core, of the same width and rows, under a rule.
In turns; medians of processor time. It has an environment of its own, for it is no dependency of ours:

    python3 -m venv hrm && hrm/bin/pip install -e . "transformers>=5.23"
    OMP_NUM_THREADS=1 hrm/bin/python benchmarks/peer_hrm_text.py
"""

# transformers is in an environment of its own, and not in ours:
# pyright: reportMissingImports=false

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from adaptive import Scripted
from transformers import HrmTextConfig, HrmTextModel

from loopverse.depth import LoopPlan
from loopverse.memory import keep_freed_memory
from loopverse.nn import Attend, CoreInput, PositionNoise
from loopverse.training import build_model
from loopverse.training.compose import compose

ROWS, LENGTH, DEEPEST = 8, 256, 8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    core = build_model(compose([])).eval().core
    width = core.config.width
    x = torch.randn(ROWS, LENGTH, width)
    table = torch.ones(ROWS, LENGTH, dtype=torch.long)
    table[0] = DEEPEST
    one, eight = _peer(width, 1), _peer(width, DEEPEST)

    def ours(plan: LoopPlan) -> Callable[[], object]:
        return lambda: core(CoreInput(x, Attend(True)), plan, PositionNoise())

    medians = _timed(
        {
            "theirs, 1": lambda: one(inputs_embeds=x, use_cache=False),
            "theirs": lambda: eight(inputs_embeds=x, use_cache=False),
            "ours, 1": ours(LoopPlan(1)),
            "ours": ours(LoopPlan(DEEPEST)),
            "ours, exits": ours(LoopPlan(DEEPEST, halting=Scripted(table))),
        },
        options.repeats,
    )
    mean = float(table.float().mean())
    print("| model | one loop, ms | all loops, ms | exits, ms | theoretical | realised |")
    print("|---|---|---|---|---|---|")
    for name, exits in (("theirs", "theirs"), ("ours", "ours, exits")):
        whole, single = medians[name], medians[f"{name}, 1"]
        loop = (whole - single) / (DEEPEST - 1)
        ideal = whole / (single + (mean - 1) * loop)
        print(
            f"| {name} | {loop * 1e3:.1f} | {whole * 1e3:.1f} | {medians[exits] * 1e3:.1f} | {ideal:.2f} "
            f"| {whole / medians[exits]:.2f} |"
        )


def _peer(width: int, cycles: int) -> HrmTextModel:
    """One layer in each of its two stacks, and one low cycle in each high one: two layers in a loop."""
    config = HrmTextConfig(
        vocab_size=256,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=1,
        num_attention_heads=2,
        head_dim=width // 2,
        H_cycles=cycles,
        L_cycles=1,
        L_bp_cycles=[1],
    )
    return HrmTextModel(config).eval()


@torch.inference_mode()
def _timed(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, run in ways.items():
            began = time.process_time()
            run()
            if repeat:
                taken[name].append(time.process_time() - began)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


if __name__ == "__main__":
    main()

"""Model FLOPs per second of `train()` over the machine's own rate of bf16 matrix products.

Between any two steps of a compiled bf16 run, square bf16 matrices are multiplied; the quotient of the
medians is the share of that rate which training reaches. FLOPs are three times those of the forward
pass, attention counted whole (Chowdhery et al. 2022, 2204.02311, appendix B).

    python benchmarks/model_flops.py core.num_heads=4
"""

import argparse
import statistics
import tempfile
import time

import torch

from loopverse.analysis.efficiency import measure_cost
from loopverse.training import Reporter, build_model, train
from loopverse.training.compose import compose
from loopverse.training.rows import Row

SIDE = 2048


class Between(Reporter):
    """Times the steps and, between them, matrix products."""

    def __init__(self) -> None:
        self.left, self.right = torch.randn(2, SIDE, SIDE).bfloat16()
        self.steps: list[float] = []
        self.products: list[float] = []
        self._resumed: float | None = None

    def trained(self, row: Row) -> None:
        stopped = time.perf_counter()
        if self._resumed is not None:
            self.steps.append(stopped - self._resumed)
        for _ in range(5):
            began = time.perf_counter()
            torch.mm(self.left, self.right)
            self.products.append(time.perf_counter() - began)
        self._resumed = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("overrides", nargs="*", help="settings, such as training.batch_size=4")
    options = parser.parse_intermixed_args()
    never = options.steps * 10
    with tempfile.TemporaryDirectory() as runs:
        config = compose(
            [
                "size=large",
                f"core.width={options.width}",
                "training.precision=bf16",
                "training.compile=true",
                f"training.steps={options.steps}",
                f"training.evaluate_every={never}",
                f"training.checkpoint_every={never}",
                "training.valid_batches=1",
                "training.trackers=[]",
                f"runs={runs}",
                *options.overrides,
            ]
        )
        model, rng = build_model(config), torch.Generator()
        settings = config.training
        batch = next(model.adapter.batches("train", batch_size=settings.batch_size, seed=0))
        cost = measure_cost(model, model.adapter.prepare(batch, rng))
        flops = 3 * cost.units * cost.per_unit(model.core, config.schedule.typical())
        between = Between()
        train(config, reporter=between)
    # The first steps compile, the last one evaluates and saves.
    step = statistics.median(between.steps[options.warmup : -1])
    product = statistics.median(between.products[5 * options.warmup :])
    rate, peak = flops / step, 2 * SIDE**3 / product
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.overrides}: "
        f"{step * 1e3:.0f} ms a step of {flops / 1e9:.0f} GFLOP, {rate / 1e9:.0f} GFLOP/s; "
        f"bf16 {SIDE}-cube products {peak / 1e9:.0f} GFLOP/s; share {rate / peak:.3f}"
    )


if __name__ == "__main__":
    main()

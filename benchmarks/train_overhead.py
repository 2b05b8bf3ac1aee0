"""Steps per second of `train()` over those of a hand-written loop on the same modules.

The two take turns step by step in one process: after every step of `train()`, its reporter runs one
step of the hand-written loop on a twin of the model and the same batches. Ratios are of medians.

    python benchmarks/train_overhead.py --width 256 512
    python benchmarks/train_overhead.py domain=masked_diffusion schedule=constant --width 128
"""

import argparse
import statistics
import tempfile
import time
from typing import cast

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional as F

from loopverse.depth import Full, LoopPlan
from loopverse.nn import Attend, CoreInput, FreshNoise
from loopverse.training import train
from loopverse.training.build import build_model
from loopverse.training.compose import compose
from loopverse.training.config import TrainConfig
from loopverse.training.precision import autocast, resolve
from loopverse.training.progress import Reporter
from loopverse.training.rows import Row


class HandWritten:
    """What a person would write for this one model: no adapters, strategies or logging."""

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(0)
        model = build_model(config)
        self.core, self.adapter = model.core, model.adapter
        self.head = model.adapter.get_parameter("head.weight")
        self.embedding = cast(nn.Embedding, model.adapter.get_submodule("embedding"))
        self.loops = config.schedule.typical()
        self.parameters = [*model.parameters()]
        settings = config.training
        if settings.compile:
            model.compile_blocks()
        self.batches = model.adapter.batches("train", batch_size=settings.batch_size, seed=0)
        [self.optimizer] = config.optimizer.build(model)
        self.precision = resolve(settings.precision, torch.device("cpu"))
        self.rng = torch.Generator().manual_seed(0)

    def loss(self, batch: TensorDict) -> Tensor:
        targets = cast(Tensor, batch["targets"])
        return F.cross_entropy(self.logits(self.adapter.embed(batch)), targets.flatten())

    def logits(self, inputs: CoreInput) -> Tensor:
        plan = LoopPlan(self.loops, gradient=Full())
        z = self.core(inputs, plan, FreshNoise(self.rng)).readouts[-1]
        return F.linear(z, self.head).flatten(0, 1).float()

    def step(self) -> float:
        batch = next(self.batches)
        with autocast(self.precision, torch.device("cpu")):
            loss = self.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


class HandWrittenMasked(HandWritten):
    """The same for masked diffusion: noise levels spread over the batch, weight 1/t."""

    def loss(self, batch: TensorDict) -> Tensor:
        tokens = cast(Tensor, batch["targets"])
        spread = torch.arange(len(tokens)) + torch.rand(1, generator=self.rng)
        level = (1 - spread / len(tokens))[:, None]
        hidden = torch.rand(tokens.shape, generator=self.rng) < level
        scale = self.adapter.width**0.5
        x = self.embedding(tokens.masked_fill(hidden, self.embedding.num_embeddings - 1)) * scale
        logits = self.logits(CoreInput(x, Attend(causal=False)))
        nats = F.cross_entropy(logits, tokens.flatten(), reduction="none").view(tokens.shape)
        return (nats * hidden / level).mean()


BY_HAND: dict[str, type[HandWritten]] = {
    "autoregressive": HandWritten,
    "masked_diffusion": HandWrittenMasked,
}


class TakingTurns(Reporter):
    """Times the steps of `train()` and, between them, those of the hand-written loop."""

    def __init__(self, other: HandWritten) -> None:
        self.other = other
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.resumed: float | None = None

    def trained(self, row: Row) -> None:
        stopped = time.perf_counter()
        if self.resumed is not None:
            self.ours.append(stopped - self.resumed)
        self.other.step()
        done = time.perf_counter()
        self.theirs.append(done - stopped)
        self.resumed = time.perf_counter()


def compare(width: int, steps: int, warmup: int, overrides: list[str]) -> None:
    with tempfile.TemporaryDirectory() as runs:
        never = steps * 10
        config = compose(
            [
                f"core.width={width}",
                f"core.num_heads={width // 64}",
                f"training.steps={steps}",
                f"training.evaluate_every={never}",
                f"training.checkpoint_every={never}",
                "training.valid_batches=1",
                f"runs={runs}",
                *overrides,
            ]
        )
        turns = TakingTurns(BY_HAND[config.choices["domain"]](config))
        train(config, reporter=turns)
    # The last step of a run also evaluates and saves; it is not counted.
    ours, theirs = turns.ours[warmup:-1], turns.theirs[warmup + 1 : -1]
    ratios = [b / a for a, b in zip(ours, theirs, strict=False)]
    low, _, high = statistics.quantiles(ratios, n=4)
    print(
        f"| {width} | {1 / statistics.median(ours):.2f} | {1 / statistics.median(theirs):.2f} "
        f"| {statistics.median(theirs) / statistics.median(ours):.3f} "
        f"| {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f}) |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("overrides", nargs="*", help="settings, such as training.compile=true")
    options = parser.parse_intermixed_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(
        "| width | train() steps/s | by hand steps/s | ratio of medians | median ratio (quartiles) |"
    )
    print("|---|---|---|---|---|")
    for width in options.width:
        compare(width, options.steps, options.warmup, options.overrides)


if __name__ == "__main__":
    main()

"""What the ways to draw noise are worth: the spread of the bound, and that of its gradient.

First table: a Markov chain with its perfect model, whose likelihood is known. Second table: the
variance of the loss and of the gradient of a model at the same batch with other noise ("noise"), and
at other batches ("all"); that of the gradient is the trace of its covariance, from differences of
pairs of draws.

    python benchmarks/masked_noise.py RUN --pairs 100
"""

import argparse
import sys
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import torch
from tensordict import TensorDict
from torch import Tensor

from loopverse.depth import Full
from loopverse.training import load
from loopverse_masked_diffusion import MASKINGS, MaskedDiffusion, nelbo

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # the chain is tests' own
# A type checker does not follow the line above.
from domains.masked_diffusion.oracle import Chain  # pyright: ignore[reportMissingImports]


def bounds(passes: int) -> None:
    """The spread of one pass of every estimator."""
    chain = Chain(length=8)
    rng = torch.Generator().manual_seed(0)
    tokens = [torch.multinomial(chain.first, 16, replacement=True, generator=rng)]
    for _ in range(chain.length - 1):
        tokens.append(torch.multinomial(chain.after[tokens[-1]], 1, generator=rng)[:, 0])
    text = torch.stack(tokens, dim=1)
    nats = chain.first[text[:, 0]].log().sum() + chain.after[text[:, :-1], text[:, 1:]].log().sum()
    truth = float(-nats / text.numel())
    estimated = partial(nelbo, lambda masked: chain.conditionals(masked).log())
    print(f"16 texts of 8 tokens, likelihood {truth:.4f} nats per token, {passes} passes\n")
    print("| noise | bound, nats per token | off by, standard errors | variance of a pass |")
    print("|---|---|---|---|")
    for name, masking in MASKINGS.items():
        found = estimated(text, chain.mask_id, masking=masking(), passes=passes)
        off = (found.nats - truth) / found.error
        variance = found.error**2 * passes
        print(f"| {name} | {found.nats:.4f} ± {found.error:.4f} | {off:+.2f} | {variance:.5f} |")


def gradients(run: Path, pairs: int, batch_size: int) -> None:
    """The variance of a step's gradient under every way to draw noise."""
    loaded = load(run)
    model, adapter = loaded.model, loaded.model.adapter
    assert isinstance(adapter, MaskedDiffusion)
    depth = loaded.config.schedule.typical()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.train()

    def gradient(batch: TensorDict, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        model.zero_grad(set_to_none=True)
        loss = model(adapter.prepare(batch, rng), depth, Full(), rng).loss
        loss.backward()
        found = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return torch.cat([grad.flatten() for grad in found]), loss.detach()

    batches = list(islice(adapter.batches("train", batch_size=batch_size, seed=1), pairs + 1))
    print(f"\n{run.name}, step {loaded.step}, batches of {batch_size}, {pairs} pairs\n")
    print("| noise | loss, noise | of independent | gradient, noise | of independent | ", end="")
    print("gradient, all | of independent |\n|---|---|---|---|---|---|---|")
    rows: dict[str, list[Tensor]] = {}
    for name in MASKINGS:
        adapter.config.masking = name
        rng = torch.Generator().manual_seed(0)
        variances = []
        for one, two in pairwise(batches):
            (first, loss), (again, other_loss) = gradient(one, rng), gradient(one, rng)
            other, _ = gradient(two, rng)
            halves = (loss - other_loss, first - again, first - other)
            variances.append(torch.stack([half.square().sum() / 2 for half in halves]))
        rows[name] = list(torch.stack(variances, dim=1))
    for name, found in rows.items():
        cells = [
            f"{float(mine.mean()):.4g} ± {2 * float(mine.std()) / pairs**0.5:.2g} | "
            f"{float(mine.mean() / theirs.mean()):.2f}"
            for mine, theirs in zip(found, rows["independent"], strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="?", help="whose gradients; none: no second table")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--passes", type=int, default=4000)
    options = parser.parse_args()
    bounds(options.passes)
    if options.run is not None:
        gradients(options.run, options.pairs, options.batch_size)


if __name__ == "__main__":
    main()

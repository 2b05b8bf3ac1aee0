"""What not reading unchanged texts again saves in masked-diffusion sampling.

16 texts of 256 tokens, 64 steps of the ancestral sampler, with reuse and without, in turns; the texts
are all masks, or have 40 masks each, between which inputs repeat. What is sampled is the same with
and without, to the token. The weights are as initialised: only the shape matters.

    OMP_NUM_THREADS=2 python benchmarks/sampling_reuse.py
"""

import argparse
import statistics
import time

import torch

from loopverse.text import Draws
from loopverse.training import build_model
from loopverse.training.compose import compose
from loopverse_masked_diffusion import Ancestral, Canvas, MaskedDiffusion, denoise


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--masks", type=int, nargs="+", default=[256, 40, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="settings of the model")
    options = parser.parse_intermixed_args()
    config = compose(["domain=masked_diffusion", *options.overrides])
    torch.manual_seed(0)
    model = build_model(config).eval()
    adapter = model.adapter
    assert isinstance(adapter, MaskedDiffusion)
    denoiser = adapter.denoiser(model.bind(config.schedule.typical()))
    sampler = Ancestral(steps=options.steps)

    def sampled(tokens: torch.Tensor, reuse: bool) -> tuple[float, torch.Tensor]:
        canvas = Canvas.of(tokens, adapter.mask_id)
        began = time.perf_counter()
        *_, end = denoise(denoiser, canvas, sampler, Draws(0), reuse=reuse)
        return time.perf_counter() - began, end.tokens

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.rows} rows")
    print("| masks a row | with reuse, s | without, s | faster by |\n|---|---|---|---|")
    rng = torch.Generator().manual_seed(0)
    for masks in options.masks:
        shape = (options.rows, options.length)
        tokens = torch.randint(0, 256, shape, generator=rng)
        hidden = torch.rand(shape, generator=rng).argsort(dim=1) < masks
        tokens = tokens.masked_fill(hidden, adapter.mask_id)
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(options.repeats):
            (fast, one), (slow, other) = (sampled(tokens, reuse) for reuse in (True, False))
            assert torch.equal(one, other), "reuse changed what was sampled"
            seconds[True].append(fast)
            seconds[False].append(slow)
        fast, slow = (statistics.median(seconds[reuse]) for reuse in (True, False))
        print(f"| {masks} | {fast:.2f} | {slow:.2f} | {slow / fast:.2f} |", flush=True)


if __name__ == "__main__":
    main()

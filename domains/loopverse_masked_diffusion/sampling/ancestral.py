"""Samplers that follow the reverse of the masking process: places are revealed at random."""

from dataclasses import dataclass

import torch

from loopverse.text import Draws
from loopverse_masked_diffusion.sampling.blocks import Stage
from loopverse_masked_diffusion.sampling.sampler import Moves, Sampler, Scheduled, Scores


@dataclass(kw_only=True)
class Ancestral(Scheduled):
    """From noise level t to s, each masked place is revealed with probability (t - s) / t.

    The reverse process of Sahoo et al. 2024 (2406.07524) with as many steps as asked. Tokens
    revealed in the same step are drawn independently of each other: with a perfect model, that is
    its only error, and it vanishes as steps grow.
    """

    def moves(self, scores: Scores, stage: Stage, draws: Draws) -> Moves:
        _, after = self.clock(stage)
        chance = (stage.time - after) / stage.time
        return Moves(stage.open & (draws.at(stage.rows, stage.open) < chance[:, None]), after)


@dataclass(kw_only=True)
class FirstHitting(Sampler):
    """Jumps to the moment at which the next place is revealed; one token a step, and no error.

    Of n masked places at noise level t the first is revealed at t u^(1/n), u uniform, and it is each
    of them with equal probability (Zheng et al. 2409.02908). A row takes as many steps as
    it has masks.
    """

    def moves(self, scores: Scores, stage: Stage, draws: Draws) -> Moves:
        num_open = stage.open.sum(dim=1)
        numbers = draws.uniform(stage.rows, 2)
        wanted = (numbers[:, 1] * num_open).long()
        reveal = stage.open & (stage.open.cumsum(dim=1) - 1 == wanted[:, None])
        time = stage.time * numbers[:, 0] ** (1 / num_open.clamp(min=1).double())
        return Moves(reveal, time.clamp(min=torch.finfo(torch.double).tiny))

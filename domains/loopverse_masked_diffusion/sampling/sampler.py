"""The contract of samplers: which masked places become tokens in a step, and in what order."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from loopverse.text import Draws, choose
from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.sampling.blocks import Stage, locate


@dataclass
class Moves:
    """What a sampler decides in a step.

    Attributes:
        reveal: masked places that become tokens.
        time: noise level within the block afterwards.
        hide: tokens that are masked again; None: none.
    """

    reveal: Bool[Tensor, "b t"]
    time: Float[Tensor, " b"]
    hide: Bool[Tensor, "b t"] | None = None


@dataclass
class Scores:
    """The denoiser's answer, read only where somebody asks: most places need not be."""

    log_probs: Float[Tensor, "b t v"]
    mask_id: int

    def at(self, places: Bool[Tensor, "b t"]) -> Float[Tensor, "n v"]:
        """Unnormalised log-probabilities, in which the mask token has none (SUBS, Sahoo et al. 2024).

        Where the model gives all to the mask, the other tokens are equally likely.

        Raises:
            ValueError: they are not numbers.
        """
        asked = self.log_probs[places]
        scores = asked.to(torch.promote_types(asked.dtype, torch.float))
        scores = scores.clamp(min=torch.finfo(scores.dtype).min)
        if self.mask_id < scores.shape[-1]:
            scores[:, self.mask_id] = -torch.inf
        if bool(scores.isnan().any()):
            raise ValueError(
                f"log-probabilities must be numbers, got nan at {int(scores.isnan().any(1).sum())} "
                "masked places: look for it in the denoiser"
            )
        return scores


@dataclass(kw_only=True)
class Sampler(ABC):
    """Goes from noise to tokens in steps; all rows at once, each at its own noise level.

    Tokens are carried over, the mask token is never drawn, and draws are in float64 from the row's
    own generator, for the places that are revealed only.

    Attributes:
        steps: how many, shared out over the places of all blocks; samplers that find their own pace do not read it.
        temperature: 0 takes the likeliest token.
        top_k: draw among the k most likely; 0: among all.
        top_p: draw among the most likely that together have this probability.
        block_length: fill so many editable places, left to right, before the next; None: all at once.

    Raises:
        ValueError: a setting is out of its range.
    """

    steps: int = 64
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    block_length: int | None = None

    revisits: ClassVar[bool] = False
    """Whether a block may get masks again after its last one is gone."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not self.temperature >= 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (all) or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.block_length is not None and self.block_length < 1:
            raise ValueError(
                f"block_length must be at least 1, or None (all at once), got {self.block_length}"
            )

    def check(self, canvas: Canvas) -> None:
        """Refuse a canvas that cannot be filled in this way.

        Raises:
            ValueError: a row to fill is not at a noise level above 0, or the steps do not fit.
        """
        times = canvas.time[canvas.open.any(dim=1)]
        if not bool(((times > 0) & (times <= 1)).all()):
            raise ValueError(
                f"rows with masks must be at a time in (0, 1], got {times.tolist()}: start at 1"
            )

    def step(self, log_probs: Float[Tensor, "b t v"], canvas: Canvas, draws: Draws) -> Canvas:
        """The canvas after one step of every row; what was given is not written to.

        Args:
            log_probs: of the clean tokens, normalised or not, with or without a column for the mask.
            canvas: rows with something left to do.
            draws: the randomness of each row.
        """
        scores = Scores(log_probs, canvas.mask_id)
        stage = locate(canvas, self.block_length)
        moves = self.moves(scores, stage, draws)
        tokens, certainty = canvas.tokens.clone(), canvas.certainty.clone()
        if moves.hide is not None:
            tokens[moves.hide] = canvas.mask_id
            certainty[moves.hide] = torch.inf
        revealed = scores.at(moves.reveal)  # [n v]
        chosen = choose(
            revealed,
            draws.at(canvas.rows, moves.reveal)[moves.reveal],
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
        ).to(tokens.device)
        tokens[moves.reveal] = chosen
        found = revealed.gather(1, chosen[:, None])[:, 0] - revealed.logsumexp(dim=1)
        certainty[moves.reveal] = found.exp().float()
        moved = replace(canvas, tokens=tokens, certainty=certainty)
        return replace(moved, time=self._time(canvas, moved, stage, moves))

    @abstractmethod
    def moves(self, scores: Scores, stage: Stage, draws: Draws) -> Moves:
        """What to reveal in the block that each row is in; all that samplers differ in."""

    def _time(self, before: Canvas, after: Canvas, stage: Stage, moves: Moves) -> Tensor:
        """The next noise level: below the last, and 0 when nothing is left to do."""
        within = moves.time
        if not self.revisits:
            within = within * (after.open & stage.places).any(dim=1)
        lower = torch.nextafter(before.time, torch.zeros_like(before.time))
        going = after.open.any(dim=1) | (within > 0)
        return torch.minimum(stage.outer(within), lower) * going


@dataclass(kw_only=True)
class Scheduled(Sampler, ABC):
    """Takes `steps` steps on an even grid of noise levels, and fewer if nothing is left."""

    def check(self, canvas: Canvas) -> None:
        super().check(canvas)
        if self.block_length is None or not bool(canvas.open.any()):
            return
        blocks = -(-int(canvas.editable.sum(dim=1).max()) // self.block_length)
        if blocks > self.steps:
            raise ValueError(
                f"{blocks} blocks of {self.block_length} need at least {blocks} steps, "
                f"got {self.steps}: raise steps or block_length"
            )

    def clock(self, stage: Stage) -> tuple[Int[Tensor, " b"], Float[Tensor, " b"]]:
        """Steps left in the block, this one included, and the noise level after this one."""
        begin = self.steps * stage.before // stage.total
        steps = self.steps * (stage.before + stage.size) // stage.total - begin
        left = (stage.time * steps - 1e-6).ceil().clamp(min=1).long()
        return left, (left - 1) / steps.double()

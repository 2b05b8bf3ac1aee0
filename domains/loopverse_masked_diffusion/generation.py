"""Sampling from a trained model: prompts in, drafts and texts out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical

from loopverse.domain import Sample, SampleSettings, Think
from loopverse.errors import UserError, unknown
from loopverse.nn import CoreInput
from loopverse.text import Draws, Tokenizer
from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.denoising import denoise
from loopverse_masked_diffusion.prompts import has_holes, parse, spelled
from loopverse_masked_diffusion.sampling import SAMPLERS, Sampler

USUAL_STEPS = 64


@dataclass
class MaskedDiffusionSampling(SampleSettings):
    """What can be asked of the masked-diffusion domain's sampling.

    Attributes:
        sampler: ancestral, first_hitting, confidence, margin, entropy, threshold, entropy_bound or
            remasking.
        steps: denoising steps, for samplers that take as many as they are told; null: 64, or one for
            each hidden token where there are fewer.
        block_length: fill so many tokens, left to right, before the next; null: all at once.
        threshold: of `threshold`: reveal what the model is surer of than this.
        gamma: of `entropy_bound`: what may be lost in a step, in nats.
        eta: of `remasking`: how much is hidden again.
        schedule: of `remasking`: how that depends on the step: cap, rescale or conf.
        reuse: do not read a text again in which no token has changed. With a budget of loops such a
            text keeps the prediction of the step at which it was read.
    """

    sampler: str = "ancestral"
    steps: int | None = None
    block_length: int | None = None
    threshold: float | None = None
    gamma: float | None = None
    eta: float | None = None
    schedule: str | None = None
    reuse: bool = True

    @classmethod
    def of(cls, settings: SampleSettings) -> "MaskedDiffusionSampling":
        """The same, from settings that may know less."""
        if isinstance(settings, cls):
            return settings
        return cls(**{item.name: getattr(settings, item.name) for item in fields(settings)})

    def build(self, num_masks: int) -> Sampler:
        """The sampler for texts with so many masks.

        Raises:
            ValueError: there is no such sampler, or it has no such setting.
        """
        if self.sampler not in SAMPLERS:
            raise unknown("sampler", self.sampler, SAMPLERS)
        kind = SAMPLERS[self.sampler]
        known = {item.name for item in fields(kind)}
        own = {
            name: getattr(self, name)
            for name in ("threshold", "gamma", "eta", "schedule")
            if getattr(self, name) is not None
        }
        if strange := own.keys() - known:
            raise UserError(
                f"the sampler {self.sampler} has no {min(strange)}: it has {', '.join(sorted(known))}"
            )
        steps = max(1, min(USUAL_STEPS, num_masks)) if self.steps is None else self.steps
        return kind(
            steps=steps,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            block_length=self.block_length,
            **own,
        )


@runtime_checkable
class Reader(Protocol):
    """The parts of the adapter that sampling needs."""

    def read_tokens(self, tokens: Tensor, level: Tensor) -> CoreInput:
        """What the core reads of tokens `[b t]`, masks included, at noise levels `[b]`."""
        ...

    def keep(self, before: Tensor, now: Tensor) -> Tensor:
        """How much of an earlier state each token starts from, `[b t]`."""
        ...

    def predict(self, z: Tensor) -> Categorical:
        """Distributions over tokens."""
        ...


class ModelDenoiser:
    """A looped model as a denoiser, with the states of its last call where it is to carry them.

    Args:
        reader: the adapter.
        think: the core with a plan.
        carry: start each call from the state of the last one.
        depends_on_time: whether the model is told the noise level.
    """

    def __init__(
        self, reader: Reader, think: Think, *, carry: bool = False, depends_on_time: bool = False
    ) -> None:
        self._reader = reader
        self._think = think
        self._carry = carry
        self._last: dict[int, tuple[Tensor, Tensor]] = {}  # by row: tokens [t] and state [t d]
        self.depends_on_time = depends_on_time or carry

    def __call__(self, canvas: Canvas) -> Float[Tensor, "b t v"]:
        device = canvas.tokens.device
        inputs = self._reader.read_tokens(canvas.tokens, canvas.time.float())
        rows = canvas.rows.tolist()
        carried, keep = None, None
        if self._carry and all(row in self._last for row in rows):
            before = torch.stack([self._last[row][0] for row in rows])
            carried = torch.stack([self._last[row][1] for row in rows]).to(device)
            keep = self._reader.keep(before, canvas.tokens)
        outer = (1 - canvas.time).float()
        thought = self._think(inputs, carry=carried, outer=outer, keep=keep)
        if self._carry:
            self._last.update(
                zip(rows, zip(canvas.tokens, thought.result.z, strict=True), strict=True)
            )
        return self._reader.predict(thought.z).logits


@torch.no_grad()
def generate(
    denoiser: ModelDenoiser,
    prompts: Sequence[str],
    tokenizer: Tokenizer,
    mask_id: int,
    settings: MaskedDiffusionSampling,
    context: int,
    device: torch.device,
) -> Iterator[Sample]:
    """Drafts of every prompt after each step, then its text; prompts of equal length go together.

    What a text becomes does not depend on those beside it.

    Raises:
        ValueError: a prompt that cannot be read or has no room, or a sampler that cannot fill it.
    """
    parsed = [parse(prompt, tokenizer, mask_id, settings.length, context) for prompt in prompts]
    runs = []
    for canvas in canvases(parsed, mask_id, device):
        sampler = settings.build(int(canvas.open[0].sum()))
        sampler.check(canvas)  # all of them before anything is computed
        runs.append((canvas, sampler))
    for canvas, sampler in runs:
        numbers: list[int] = canvas.rows.tolist()
        last = canvas.tokens
        steps = denoise(denoiser, canvas, sampler, Draws(settings.seed), reuse=settings.reuse)
        for step in steps:
            for index in (step.tokens != last).any(dim=1).nonzero()[:, 0].tolist():
                text = spelled(step.tokens[index].tolist(), tokenizer)
                yield Sample(numbers[index], text, whole=True, draft=True)
            last = step.tokens
        for row, tokens in zip(numbers, last.tolist(), strict=True):
            text = spelled(until_end(tokens, parsed[row], tokenizer, prompts[row]), tokenizer)
            yield Sample(row, text, whole=True)


def canvases(
    parsed: Sequence[Int[Tensor, " _"]], mask_id: int, device: torch.device | None = None
) -> list[Canvas]:
    """Texts with as many tokens and as many masks on one canvas; rows keep their numbers."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row, tokens in enumerate(parsed):
        groups.setdefault((len(tokens), int((tokens == mask_id).sum())), []).append(row)
    found = []
    for rows in groups.values():
        canvas = Canvas.of(torch.stack([parsed[row] for row in rows]).to(device), mask_id)
        canvas.rows = torch.tensor(rows, device=device)
        found.append(canvas)
    return found


def until_end(
    tokens: list[int], given: Int[Tensor, " t"], tokenizer: Tokenizer, prompt: str
) -> list[int]:
    """The tokens of a finished text: one that was continued ends where its document does.

    Args:
        tokens: all of them.
        given: those of the prompt, with masks.
        tokenizer: of the model.
        prompt: what was asked for.
    """
    if has_holes(prompt):
        return tokens
    start = int((given < tokenizer.vocab_size).sum())
    try:
        return tokens[: tokens.index(tokenizer.separator, start)]
    except ValueError:
        return tokens

"""Text as a whole, from a part of it: some tokens are hidden, all of them are predicted at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torchmetrics
from jaxtyping import Bool, Float, Int
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from loopverse.domain import Outcome, Sample, SampleSettings, Think, Thought
from loopverse.exhibit import Exhibit
from loopverse.nn import Attend, CoreInput
from loopverse.text import TextConfig, TextDomain, TokenDistribution
from loopverse_masked_diffusion.allocation import difficulties, half_hidden, sampling_map
from loopverse_masked_diffusion.generation import (
    MaskedDiffusionSampling,
    ModelDenoiser,
    generate,
)
from loopverse_masked_diffusion.likelihood import BatchError
from loopverse_masked_diffusion.masking import MASKINGS, FixedCount, Masked


@dataclass
class MaskedDiffusionConfig(TextConfig):
    """Settings of the masked-diffusion domain.

    Attributes:
        masking: how noise is drawn in training: `low_discrepancy` (noise levels spread evenly over
            the batch), `independent`, or `fixed_count` (the number of hidden tokens is drawn). Held-out
            data are always measured with `fixed_count`.
        draws: times that every held-out window is hidden anew, in strata.
        condition_on_noise: tell the core the noise level, through adaptive norms; goes with
            `core.conditioned=true`. Without, what was computed for unchanged tokens can be used again.
        carry: also learn to start from the state of an earlier, noisier step, and sample so.
        carry_visible: how much of the earlier state a token starts from that was visible already.
        carry_masked: the same of a token that is still hidden.
        carry_revealed: the same of a token that was revealed in between.
        consistency: weight of the divergence between what is predicted with and without a carried
            state, in nats per hidden token.
    """

    masking: str = "low_discrepancy"
    draws: int = 1
    condition_on_noise: bool = False
    carry: bool = False
    carry_visible: float = 1.0
    carry_masked: float = 1.0
    carry_revealed: float = 0.0
    consistency: float = 0.1


class MaskedDiffusion(TextDomain):
    """Masked diffusion with the SUBS parameterisation (Sahoo et al. 2024, 2406.07524).

    No probability on the mask: it is read but has no output. Visible tokens are carried over: they
    have no loss, and samplers never touch them.

    Raises:
        ValueError: settings that cannot be.
    """

    Config = MaskedDiffusionConfig
    Sampling = MaskedDiffusionSampling
    example = "def area(radius):\n    <mask:40>\n    return area\n"
    config: MaskedDiffusionConfig

    def __init__(self, config: MaskedDiffusionConfig, width: int) -> None:
        super().__init__(config, width, num_marks=1)
        if config.masking not in MASKINGS:
            raise ValueError(
                f"domain.masking must be one of {', '.join(MASKINGS)}, got {config.masking}"
            )
        if config.draws < 1:
            raise ValueError(f"domain.draws must be at least 1, got {config.draws}")
        for name in ("carry_visible", "carry_masked", "carry_revealed"):
            if not 0 <= getattr(config, name) <= 1:
                raise ValueError(f"domain.{name} must be in [0, 1], got {getattr(config, name)}")
        if config.consistency < 0:
            raise ValueError(f"domain.consistency must not be negative, got {config.consistency}")
        self.noise = NoiseEmbedding(width) if config.condition_on_noise else None

    @property
    def mask_id(self) -> int:
        """The id that stands where a token is hidden: behind all those of the tokeniser."""
        return self.vocab_size

    def prepare(self, batch: TensorDict, rng: torch.Generator) -> TensorDict:
        """Hide tokens: in training as `domain.masking` says, else `domain.draws` times a window.

        Raises:
            ValueError: ids that no tokeniser gives, such as that of the mask.
        """
        if not self.training and self.config.draws > 1:
            again = torch.arange(len(batch)).repeat_interleave(self.config.draws)
            batch = cast(TensorDict, batch[again])
        tokens = cast(Tensor, batch["targets"])
        if int(tokens.max()) >= self.mask_id:
            raise ValueError(
                f"the corpus holds the token {int(tokens.max())}, the tokeniser has {self.vocab_size}: "
                f"{self.mask_id} stands for a hidden token and cannot be in a text; tokenise it anew"
            )
        present = cast(Tensor, batch["weights"]) > 0
        masking = MASKINGS[self.config.masking]() if self.training else FixedCount()
        masked = masking.draw(present, rng)
        content = {
            "tokens": tokens,
            "visible": tokens.masked_fill(masked.places, self.mask_id),
            "scale": masked.scale,
            "level": masked.level,
            "present": present,
            "id": batch["id"],
        }
        if not bool(present.all()):  # asked here, on the host: a device would be waited for
            content["padding"] = present
        if self.config.separate_documents:
            # A separator belongs to the document behind it; `segments` are those of the tokens before.
            begins = (tokens == self.tokenizer.separator).long()
            content["segments"] = cast(Tensor, batch["segments"]) + begins
        if self.config.carry and self.training:
            content |= self._noisier(masked, present, tokens, rng)
        return TensorDict(content, batch_size=batch.batch_size)

    def embed(self, batch: TensorDict) -> CoreInput:
        attend = Attend(
            causal=False,
            padding=cast(Tensor, batch["padding"]) if "padding" in batch else None,
            segments=cast(Tensor, batch["segments"]) if "segments" in batch else None,
        )
        return self._inputs(cast(Tensor, batch["visible"]), cast(Tensor, batch["level"]), attend)

    def read_tokens(self, tokens: Int[Tensor, "b t"], level: Float[Tensor, " b"]) -> CoreInput:
        """What the core reads in use: tokens, masks among them, at noise levels in (0, 1]."""
        return self._inputs(tokens, level, Attend(causal=False))

    def correct(self, outcome: Outcome, batch: TensorDict) -> Bool[Tensor, "b t"]:
        """Where the most likely token is the hidden one, or was visible."""
        assert isinstance(outcome.prediction, TokenDistribution)
        tokens = cast(Tensor, batch["tokens"])
        visible = cast(Tensor, batch["visible"]) != self.mask_id
        return visible | (outcome.prediction.mode == tokens)

    def loss(self, prediction: Distribution, batch: TensorDict) -> Outcome:
        """Nats of the bound, for each token; 0 for those that are visible."""
        nats = -prediction.log_prob(cast(Tensor, batch["tokens"]))
        hidden = cast(Tensor, batch["visible"]) == self.mask_id
        losses = torch.where(hidden, nats, 0) * cast(Tensor, batch["scale"])[:, None]
        return Outcome(losses, cast(Tensor, batch["present"]).float(), prediction=prediction)

    def forward(self, think: Think, batch: TensorDict) -> Outcome:
        inputs, outer = self.embed(batch), 1 - cast(Tensor, batch["level"])
        fresh = think(inputs, outer=outer)
        outcome = self._judge(fresh, batch)
        if "earlier" not in batch:
            return outcome
        with torch.no_grad():
            earlier = batch.clone(recurse=False)
            earlier.update({"visible": batch["earlier"], "level": batch["earlier_level"]})
            before = 1 - cast(Tensor, batch["earlier_level"])
            carried = think(self.embed(earlier), outer=before).result.z
        keep = self.keep(cast(Tensor, batch["earlier"]), cast(Tensor, batch["visible"]))
        again = think(inputs, carry=carried, outer=outer, keep=keep)
        return self._agree(outcome, self._judge(again, batch), batch)

    def keep(self, before: Tensor, now: Tensor) -> Float[Tensor, "b t"]:
        """How much of the state of a noisier step each token starts from.

        Args:
            before: tokens of that step, `[b t]`, the mask where they were hidden.
            now: tokens of this step.
        """
        config = self.config
        stays = torch.where(now == self.mask_id, config.carry_masked, config.carry_visible)
        return torch.where(before != now, config.carry_revealed, stays)

    def metrics(self) -> dict[str, torchmetrics.Metric]:
        return {
            **super().metrics(),
            "nelbo": torchmetrics.MeanMetric(),
            "nelbo_error": BatchError(),
            "nelbo_draws": torchmetrics.SumMetric(),
        }

    def measure(
        self, metrics: dict[str, torchmetrics.Metric], outcome: Outcome, batch: TensorDict
    ) -> None:
        losses, weights = outcome.losses.detach().float(), outcome.weights
        tokens = cast(Tensor, batch["tokens"])
        counted = weights > 0
        metrics[self.metric].update(losses * counted, self.sizes(tokens) * counted)
        metrics["nelbo"].update(losses, weights)
        metrics["nelbo_error"].update(losses, weights)
        metrics["nelbo_draws"].update(counted.any(dim=1).sum())

    def difficulties(self, outcome: Outcome, batch: TensorDict) -> dict[str, Tensor]:
        return difficulties(self, outcome, batch)

    def answers(self, batch: TensorDict) -> tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"]]:
        return cast(Tensor, batch["tokens"]), cast(Tensor, batch["visible"]) == self.mask_id

    def allocation(self, think: Think, batch: TensorDict) -> Iterator[Exhibit]:
        row = half_hidden(batch)
        yield from super().allocation(think, cast(TensorDict, batch[row : row + 1]))
        yield sampling_map(self, think)

    def denoiser(self, think: Think) -> ModelDenoiser:
        """The model as samplers see it."""
        return ModelDenoiser(
            self, think, carry=self.config.carry, depends_on_time=self.noise is not None
        )

    def sample(
        self, think: Think, prompts: Sequence[str], settings: SampleSettings
    ) -> Iterator[Sample]:
        """Fill the holes of the prompts (`<mask:40>`), or continue those that have none.

        Raises:
            ValueError: a prompt that cannot be read or has no room, or a sampler that cannot fill it.
        """
        return generate(
            self.denoiser(think),
            prompts,
            self.tokenizer,
            self.mask_id,
            MaskedDiffusionSampling.of(settings),
            self.config.context,
            self.embedding.weight.device,
        )

    def _inputs(self, visible: Tensor, level: Tensor, attend: Attend) -> CoreInput:
        cond = None if self.noise is None else self.noise(level)
        return CoreInput(self.embed_tokens(visible), attend, cond=cond)

    def _judge(self, thought: Thought, batch: TensorDict) -> Outcome:
        return thought.weigh([self.loss(self.predict(z), batch) for z in thought.readouts])

    def _agree(self, fresh: Outcome, carried: Outcome, batch: TensorDict) -> Outcome:
        """Both ways count alike, and the carried one is drawn to the fresh one."""
        assert isinstance(fresh.prediction, TokenDistribution)
        assert isinstance(carried.prediction, TokenDistribution)
        hidden = cast(Tensor, batch["visible"]) == self.mask_id
        teacher = TokenDistribution(fresh.prediction.raw.detach())
        apart = torch.where(hidden, kl_divergence(teacher, carried.prediction), 0)
        penalty = self.config.consistency * apart.sum() / hidden.sum().clamp(min=1)
        both = (fresh.losses + carried.losses) / 2
        return Outcome(both, fresh.weights, penalty, fresh.prediction, fresh.depth)

    def _noisier(
        self, masked: Masked, present: Tensor, tokens: Tensor, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """An earlier step and its level: more tokens hidden, and all that are hidden now."""
        level = masked.level.double()
        between = level + (1 - level) * torch.rand(len(level), generator=rng, dtype=torch.double)
        more = ((between - level) / (1 - level).clamp(min=1e-9))[:, None]
        also = torch.rand(tokens.shape, generator=rng, dtype=torch.double) < more
        hidden = masked.places | (also & present)
        return {
            "earlier": tokens.masked_fill(hidden, self.mask_id),
            "earlier_level": between.float(),
        }


class NoiseEmbedding(nn.Module):
    """A noise level as a condition of the core: sines of its value, then two layers.

    Args:
        width: channels of the condition.
    """

    rates: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("rates", torch.logspace(0, 3, 32), persistent=False)
        self.layers = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, level: Float[Tensor, " b"]) -> Float[Tensor, "b d"]:
        angles = level[:, None] * self.rates
        return self.layers(torch.cat([angles.sin(), angles.cos()], dim=-1))

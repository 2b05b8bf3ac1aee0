"""Samplers as schedulers of diffusers: one class for each, with the sampler's settings as its config."""

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.outputs import BaseOutput
from jaxtyping import Bool, Float, Int
from torch import Tensor

from loopverse.text import Draws
from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.sampling import (
    SAMPLERS,
    Ancestral,
    Confidence,
    Entropy,
    EntropyBound,
    FirstHitting,
    Margin,
    Remasking,
    Sampler,
    Threshold,
)

Generators = torch.Generator | Sequence[torch.Generator] | None
"""Where draws come from, as diffusers has it: one for all rows, one for each row, or torch's own."""


def draws_from(generators: Generators, num_rows: int) -> Draws:
    """The randomness of so many rows.

    Raises:
        ValueError: a list with another number of generators.
    """
    if generators is None or isinstance(generators, torch.Generator):
        return Draws.of([generators or torch.default_generator] * num_rows)
    if len(generators) != num_rows:
        raise ValueError(
            f"generator must be one, or one for each of {num_rows} texts, got {len(generators)}"
        )
    return Draws.of(generators)


@dataclass
class SamplerSchedulerOutput(BaseOutput):
    """What a step returns.

    Attributes:
        prev_sample: the tokens at the next, lower noise level.
        time: that noise level, for each row; 0 where a row is done.
    """

    prev_sample: Int[Tensor, "b t"]
    time: Float[Tensor, " b"]


class SamplerScheduler(SchedulerMixin, ConfigMixin):
    """A sampler as a scheduler; subclasses name theirs and have its settings, and nothing else.

    `set_timesteps` begins a pass: from the first step on it holds which places are to be filled and the
    noise level of every row, since some samplers find their own pace. `timesteps` are the noise
    levels of those that do not; the others need as many as there are masks at most.

    Attributes:
        sampler: what takes the steps.
        timesteps: noise levels to call `step` with, strictly decreasing in (0, 1].
    """

    order = 1
    init_noise_sigma = 1.0
    kind: ClassVar[type[Sampler]]
    """The sampler's class."""

    def __init__(self, **settings: Any) -> None:
        self.sampler = self.kind(**settings)
        self.set_timesteps(self.sampler.steps)

    def __init_subclass__(cls, sampler: type[Sampler], **rest: Any) -> None:
        """Give the class the settings of a sampler, where diffusers looks for them: its signature."""
        super().__init_subclass__(**rest)

        def init(self: SamplerScheduler, **settings: Any) -> None:
            SamplerScheduler.__init__(self, **settings)

        own = inspect.signature(sampler)
        this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        vars(init)["__signature__"] = own.replace(parameters=[this, *own.parameters.values()])
        cls.kind = sampler
        cls.__init__ = register_to_config(init)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None = None,
        subfolder: str | None = None,
        return_unused_kwargs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The scheduler that `save_pretrained` wrote.

        To take the settings that two samplers share from one to the other, use `from_config`.

        Raises:
            ValueError: it was written by the scheduler of another sampler.
        """
        folder = pretrained_model_name_or_path or ""
        config, kwargs = cls.load_config(
            folder, subfolder=subfolder, return_unused_kwargs=True, **kwargs
        )
        made_by = config.get("_class_name")
        if made_by != cls.__name__:
            raise ValueError(
                f"{folder} holds the settings of {made_by}, "
                f"not of {cls.__name__}: load it with {made_by}.from_pretrained"
            )
        return cls.from_config(config, return_unused_kwargs=return_unused_kwargs, **kwargs)

    def set_timesteps(
        self, num_inference_steps: int, device: torch.device | str | None = None
    ) -> None:
        """Begin a new pass.

        Raises:
            ValueError: fewer than one step.
        """
        self.sampler = replace(self.sampler, steps=num_inference_steps)
        self.num_inference_steps = num_inference_steps
        grid = torch.arange(num_inference_steps, 0, -1, dtype=torch.double, device=device)
        self.timesteps = grid / num_inference_steps
        self._last = torch.inf
        self._canvas: Canvas | None = None

    def step(
        self,
        model_output: Float[Tensor, "b t v"],
        timestep: float | Tensor,
        sample: Int[Tensor, "b t"],
        *,
        mask_token_id: int,
        editable: Bool[Tensor, "b t"] | None = None,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> SamplerSchedulerOutput | tuple[Tensor, Tensor]:
        """The tokens after one step; rows that are done stay as they are.

        Args:
            model_output: log-probabilities of the clean tokens, normalised or not.
            timestep: noise level, below that of the step before. In the first step of a pass every row
                stands at it; then each goes on from where the last step left it (`time`).
            sample: the tokens that the model read.
            mask_token_id: what stands where no token is yet.
            editable: where tokens may be written, read in the first step; None: where it has masks.
            generator: one for each row makes a row independent of those beside it.
            return_dict: false returns a tuple.

        Raises:
            ValueError: a noise level that cannot be, or masks that the sampler cannot fill.
        """
        level = self._level(timestep)
        if self._canvas is None:
            canvas = Canvas.of(sample, mask_token_id, editable)
            canvas.time = canvas.time * level * canvas.open.any(dim=1)
            self.sampler.check(canvas)
        else:
            canvas = replace(self._canvas, tokens=sample)
        running = canvas.time.nonzero()[:, 0]
        if len(running):
            draws = draws_from(generator, len(sample))
            moved = self.sampler.step(model_output[running], canvas.take(running), draws)
            canvas = canvas.put(running, moved)
        self._canvas, self._last = canvas, level
        if not return_dict:
            return canvas.tokens, canvas.time
        return SamplerSchedulerOutput(prev_sample=canvas.tokens, time=canvas.time)

    def _level(self, timestep: float | Tensor) -> float:
        if isinstance(timestep, Tensor) and timestep.numel() != 1:
            raise ValueError(
                f"timestep must be one number for all rows, got a tensor of shape {list(timestep.shape)}"
            )
        level = float(timestep)
        if not 0 < level <= 1:
            raise ValueError(f"timestep must be a noise level in (0, 1], got {level:g}")
        if level >= self._last:
            raise ValueError(
                f"timestep must be below that of the last step, {self._last:g}, got {level:g}: "
                "call set_timesteps before another pass"
            )
        return level


class AncestralScheduler(SamplerScheduler, sampler=Ancestral):
    """`Ancestral` as a scheduler."""


class FirstHittingScheduler(SamplerScheduler, sampler=FirstHitting):
    """`FirstHitting` as a scheduler."""


class ConfidenceScheduler(SamplerScheduler, sampler=Confidence):
    """`Confidence` as a scheduler."""


class MarginScheduler(SamplerScheduler, sampler=Margin):
    """`Margin` as a scheduler."""


class EntropyScheduler(SamplerScheduler, sampler=Entropy):
    """`Entropy` as a scheduler."""


class ThresholdScheduler(SamplerScheduler, sampler=Threshold):
    """`Threshold` as a scheduler."""


class EntropyBoundScheduler(SamplerScheduler, sampler=EntropyBound):
    """`EntropyBound` as a scheduler."""


class RemaskingScheduler(SamplerScheduler, sampler=Remasking):
    """`Remasking` as a scheduler."""


_OF = {kind.kind: kind for kind in SamplerScheduler.__subclasses__()}
SCHEDULERS: dict[str, type[SamplerScheduler]] = {name: _OF[kind] for name, kind in SAMPLERS.items()}
"""The scheduler of every sampler, by the sampler's name."""

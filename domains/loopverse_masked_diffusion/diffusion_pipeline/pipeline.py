"""A pipeline of diffusers that fills in and continues texts with a looped masked-diffusion model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from jaxtyping import Int
from torch import Tensor

from loopverse import load
from loopverse.text import Draws
from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.denoising import denoise
from loopverse_masked_diffusion.diffusion_pipeline.model import MaskedDiffusionModel
from loopverse_masked_diffusion.diffusion_pipeline.scheduler import (
    AncestralScheduler,
    Generators,
    SamplerScheduler,
    draws_from,
)
from loopverse_masked_diffusion.diffusion_pipeline.tokenizer import CallableTokenizer
from loopverse_masked_diffusion.generation import canvases, until_end
from loopverse_masked_diffusion.prompts import parse, spelled
from loopverse_masked_diffusion.sampling import Sampler

Callback = Callable[[Any, int, float, dict[str, Tensor]], dict[str, Tensor]]
"""Called after each step with the pipeline, the number of the step, the highest noise level and the tensors
that were asked for, by name; what it returns as `tokens` takes the place of the tokens."""
TENSORS = ("tokens", "rows")


@dataclass
class MaskedDiffusionPipelineOutput(BaseOutput):
    """What became of the prompts.

    Attributes:
        tokens: of each text, prompt included.
        texts: the same as text, up to the end of its document; None with `output_type="tokens"`.
    """

    tokens: list[Int[Tensor, " t"]]
    texts: list[str] | None = None


class MaskedDiffusionPipeline(DiffusionPipeline):
    """Prompts with holes in, texts out, by the code behind `loopverse sample`.

    Args:
        model: with its tokeniser.
        scheduler: the sampler; another one can be put in its place.

    Raises:
        ValueError: a scheduler of another library.
    """

    model: MaskedDiffusionModel
    scheduler: SamplerScheduler
    model_cpu_offload_seq = "model"
    _callback_tensor_inputs: ClassVar[list[str]] = list(TENSORS)

    def __init__(self, model: MaskedDiffusionModel, scheduler: SamplerScheduler) -> None:
        super().__init__()
        _check_scheduler(scheduler)
        self.register_modules(model=model, scheduler=scheduler)

    @classmethod
    def from_run(
        cls,
        run: str | Path,
        checkpoint: str | int = "best",
        scheduler: SamplerScheduler | None = None,
        device: torch.device | str | None = None,
    ) -> "MaskedDiffusionPipeline":
        """A trained run of the domain masked_diffusion.

        Args:
            run: the run folder.
            checkpoint: "best", "last" or a step.
            scheduler: default: `AncestralScheduler()`.
            device: default: the accelerator there is, else the CPU.

        Raises:
            ValueError: no such run or checkpoint, or a run of another domain.
        """
        model = MaskedDiffusionModel.of(load(run, checkpoint, device).model)
        return cls(model, scheduler or AncestralScheduler())

    @property
    def tokenizer(self) -> CallableTokenizer:
        """The model's tokeniser, as other pipelines call theirs."""
        adapter = self.model.adapter
        return CallableTokenizer(adapter.tokenizer, adapter.mask_id)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        length: int = 200,
        num_inference_steps: int | None = None,
        loops: int | None = None,
        *,
        generator: Generators = None,
        seed: int | None = None,
        output_type: str = "text",
        return_dict: bool = True,
        callback_on_step_end: Callback | PipelineCallback | MultiPipelineCallbacks | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("tokens",),
    ) -> MaskedDiffusionPipelineOutput | tuple[list[Tensor], list[str] | None]:
        """Fill the holes of the prompts, or continue those that have none.

        With a seed, or a generator for each prompt, what becomes of one does not depend on the others.

        Args:
            prompt: `<mask:40>` in it asks for 40 tokens there; None begins a document.
            length: tokens behind a prompt without holes, or as many as the context has room for.
            num_inference_steps: None: as the scheduler is configured, or one for each masked token
                where there are fewer. Samplers that find their own pace do not read it.
            loops: how often the core reads in a step; None: as the model is configured.
            generator: one, one for each prompt, or None for torch's own.
            seed: instead of a generator, as `loopverse sample` has it.
            output_type: "text" or "tokens".
            return_dict: false returns a tuple.
            callback_on_step_end: see `Callback`; setting `_interrupt` on the pipeline stops early. A
                text that is done is not taken up again.
            callback_on_step_end_tensor_inputs: "tokens", and "rows", the number of the prompt that each
                row of them belongs to: prompts of different lengths are filled one after the other.

        Raises:
            ValueError: an argument that cannot be, a prompt that cannot be read or has no room, or a
                sampler that cannot fill it.
        """
        if output_type not in ("text", "tokens"):
            raise ValueError(f'output_type must be "text" or "tokens", got {output_type!r}')
        hook = _Hook(callback_on_step_end, callback_on_step_end_tensor_inputs)
        prompts = [prompt or ""] if prompt is None or isinstance(prompt, str) else list(prompt)
        draws = _draws(generator, seed, len(prompts))
        given = self._parse(prompts, length)
        starts = self._starts(given, num_inference_steps)
        count = self.model.config["loops"] if loops is None else loops
        denoiser = self.model.adapter.denoiser(self.model.looped.bind(count, seed=seed or 0))
        filled = list(given)
        self._interrupt = False
        num_masks = sum(int(start.open.sum()) for start, _ in starts)
        # torch.compiler.disable, which wraps it, hides its signature from the type checker.
        with self.progress_bar(total=num_masks) as bar:  # pyright: ignore[reportCallIssue]
            for start, sampler in starts:
                if self._interrupt:
                    break
                canvas, left = start, int(start.open.sum())
                for canvas in denoise(denoiser, start, sampler, draws):
                    hook.after_step(self, canvas)
                    still = int(canvas.open.sum())
                    bar.update(left - still)
                    left = still
                    if self._interrupt:
                        break
                for row, tokens in zip(canvas.rows.tolist(), canvas.tokens, strict=True):
                    filled[row] = tokens
        self.maybe_free_model_hooks()
        texts = self._texts(filled, given, prompts) if output_type == "text" else None
        if not return_dict:
            return filled, texts
        return MaskedDiffusionPipelineOutput(tokens=filled, texts=texts)

    def _parse(self, prompts: Sequence[str], length: int) -> list[Tensor]:
        adapter = self.model.adapter
        return [
            parse(prompt, adapter.tokenizer, adapter.mask_id, length, adapter.config.context)
            for prompt in prompts
        ]

    def _starts(self, given: list[Tensor], steps: int | None) -> list[tuple[Canvas, Sampler]]:
        """Canvases to fill, and with what; all are checked before anything is computed."""
        _check_scheduler(self.scheduler)
        device, starts = self._execution_device, []
        for canvas in canvases(given, self.model.adapter.mask_id, device):
            usual = min(self.scheduler.config["steps"], int(canvas.open[0].sum()))
            self.scheduler.set_timesteps(usual if steps is None else steps, device)
            self.scheduler.sampler.check(canvas)
            starts.append((canvas, self.scheduler.sampler))
        return starts

    def _texts(
        self, filled: list[Tensor], given: list[Tensor], prompts: Sequence[str]
    ) -> list[str]:
        tokenizer = self.model.adapter.tokenizer
        return [
            spelled(until_end(tokens.tolist(), start, tokenizer, prompt), tokenizer)
            for tokens, start, prompt in zip(filled, given, prompts, strict=True)
        ]


class _Hook:
    """The user's callback, with the tensors that it asked for.

    Raises:
        ValueError: it asks for a tensor that there is not.
    """

    def __init__(
        self,
        callback: Callback | PipelineCallback | MultiPipelineCallbacks | None,
        names: Sequence[str],
    ) -> None:
        if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):
            names = callback.tensor_inputs
        if odd := set(names) - set(TENSORS):
            raise ValueError(
                f"callback_on_step_end_tensor_inputs must be among {', '.join(TENSORS)}, "
                f"got {min(odd)}"
            )
        self._callback = callback
        self._names = names
        self._index = 0

    def after_step(self, pipeline: MaskedDiffusionPipeline, canvas: Canvas) -> None:
        """Call it, and put the tokens that it returns into the canvas.

        Raises:
            ValueError: they have another shape.
        """
        if self._callback is None:
            return
        tensors = {"tokens": canvas.tokens.clone(), "rows": canvas.rows}
        asked = {name: tensors[name] for name in self._names}
        answer = self._callback(pipeline, self._index, float(canvas.time.max()), asked)
        self._index += 1
        tokens = (answer or {}).get("tokens", canvas.tokens)
        if tokens.shape != canvas.tokens.shape:
            raise ValueError(
                f"callback_on_step_end must return tokens of shape {list(canvas.tokens.shape)}, "
                f"got {list(tokens.shape)}"
            )
        canvas.tokens.copy_(tokens)  # in place: the next step goes on from this canvas


def _check_scheduler(scheduler: object) -> None:
    if not isinstance(scheduler, SamplerScheduler):
        raise ValueError(
            f"expected the scheduler of a sampler of Loopverse, such as AncestralScheduler, "
            f"got {type(scheduler).__name__}"
        )


def _draws(generator: Generators, seed: int | None, num_rows: int) -> Draws:
    if seed is None:
        return draws_from(generator, num_rows)
    if generator is not None:
        raise ValueError("both a seed and a generator say what is drawn: leave one out")
    return Draws(seed)

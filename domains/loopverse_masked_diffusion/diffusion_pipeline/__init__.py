"""Masked diffusion for users of diffusers: schedulers, a model and a pipeline in that library's terms.

The only modules of Loopverse that import diffusers, which takes seconds: import them where they
are needed. `MaskedDiffusionPipeline.from_run` takes a trained run over.
"""

from loopverse_masked_diffusion.diffusion_pipeline.model import (
    MaskedDiffusionModel,
    MaskedDiffusionModelOutput,
)
from loopverse_masked_diffusion.diffusion_pipeline.pipeline import (
    MaskedDiffusionPipeline,
    MaskedDiffusionPipelineOutput,
)
from loopverse_masked_diffusion.diffusion_pipeline.scheduler import (
    SCHEDULERS,
    AncestralScheduler,
    ConfidenceScheduler,
    EntropyBoundScheduler,
    EntropyScheduler,
    FirstHittingScheduler,
    MarginScheduler,
    RemaskingScheduler,
    SamplerScheduler,
    SamplerSchedulerOutput,
    ThresholdScheduler,
)
from loopverse_masked_diffusion.diffusion_pipeline.tokenizer import CallableTokenizer

__all__ = [
    "SCHEDULERS",
    "AncestralScheduler",
    "CallableTokenizer",
    "ConfidenceScheduler",
    "EntropyBoundScheduler",
    "EntropyScheduler",
    "FirstHittingScheduler",
    "MarginScheduler",
    "MaskedDiffusionModel",
    "MaskedDiffusionModelOutput",
    "MaskedDiffusionPipeline",
    "MaskedDiffusionPipelineOutput",
    "RemaskingScheduler",
    "SamplerScheduler",
    "SamplerSchedulerOutput",
    "ThresholdScheduler",
]

"""The masked-diffusion domain: text all at once, from a part of it that is visible."""

from loopverse_masked_diffusion.adapter import MaskedDiffusion, MaskedDiffusionConfig
from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.denoising import Denoiser, denoise
from loopverse_masked_diffusion.generation import MaskedDiffusionSampling, ModelDenoiser
from loopverse_masked_diffusion.likelihood import Bound, nelbo
from loopverse_masked_diffusion.masking import (
    MASKINGS,
    FixedCount,
    Independent,
    LowDiscrepancy,
    Masked,
    Masking,
)
from loopverse_masked_diffusion.retrofit import loopify
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

__all__ = [
    "MASKINGS",
    "SAMPLERS",
    "Ancestral",
    "Bound",
    "Canvas",
    "Confidence",
    "Denoiser",
    "Entropy",
    "EntropyBound",
    "FirstHitting",
    "FixedCount",
    "Independent",
    "LowDiscrepancy",
    "Margin",
    "Masked",
    "MaskedDiffusion",
    "MaskedDiffusionConfig",
    "MaskedDiffusionSampling",
    "Masking",
    "ModelDenoiser",
    "Remasking",
    "Sampler",
    "Threshold",
    "denoise",
    "loopify",
    "nelbo",
]

"""The masked-diffusion domain: text all at once, from a part of it that is visible."""

from loopverse_masked_diffusion.adapter import MaskedDiffusion, MaskedDiffusionConfig
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

__all__ = [
    "MASKINGS",
    "Bound",
    "FixedCount",
    "Independent",
    "LowDiscrepancy",
    "Masked",
    "MaskedDiffusion",
    "MaskedDiffusionConfig",
    "Masking",
    "loopify",
    "nelbo",
]

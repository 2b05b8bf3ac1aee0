"""Samplers of masked diffusion: which places become tokens, and when."""

from loopverse_masked_diffusion.sampling.adaptive import EntropyBound, Threshold
from loopverse_masked_diffusion.sampling.ancestral import Ancestral, FirstHitting
from loopverse_masked_diffusion.sampling.certain_first import Confidence, Entropy, Margin
from loopverse_masked_diffusion.sampling.remasking import Remasking
from loopverse_masked_diffusion.sampling.sampler import Sampler

SAMPLERS: dict[str, type[Sampler]] = {
    "ancestral": Ancestral,
    "first_hitting": FirstHitting,
    "confidence": Confidence,
    "margin": Margin,
    "entropy": Entropy,
    "threshold": Threshold,
    "entropy_bound": EntropyBound,
    "remasking": Remasking,
}

__all__ = [
    "SAMPLERS",
    "Ancestral",
    "Confidence",
    "Entropy",
    "EntropyBound",
    "FirstHitting",
    "Margin",
    "Remasking",
    "Sampler",
    "Threshold",
]

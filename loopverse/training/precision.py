"""The number format of a run: resolved once, recorded, and kept on resume."""

import torch


def resolve(precision: str, device: torch.device) -> str:
    """`bf16` or `fp32`: what was asked for, or for `auto` the fastest the device computes natively."""
    if precision != "auto":
        return precision
    return "bf16" if _computes_bf16(device) else "fp32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """A context in which matrix products run in `precision`; weights stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False

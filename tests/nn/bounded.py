"""Small cores with a bound on their loop, and how much a loop of theirs can stretch."""

from typing import Any

import torch
from cores import preset, stir
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from loopverse.nn import Attend, CoreInput, RecurrentCore, RetentionResidual

WIDTH = 8


def bounded(bound: str = "full", tokens: int = 3, **changes: Any) -> RecurrentCore:
    """A core in float64, with stirred weights."""
    torch.manual_seed(0)
    settings = {"width": WIDTH, "num_heads": 2, "num_kv_heads": 1, "mlp_hidden": 12, **changes}
    injection = RetentionResidual(bound=bound, tokens=tokens)
    return stir(RecurrentCore(preset("loopwm", injection=injection, **settings))).double()


def inputs(tokens: int, attend: Attend | None = None, seed: int = 0) -> CoreInput:
    """One row."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(1, tokens, WIDTH, generator=rng, dtype=torch.float64)
    return CoreInput(x, attend or Attend(False))


def state(tokens: int, size: float = 1.0, seed: int = 1) -> Tensor:
    """Of one row."""
    rng = torch.Generator().manual_seed(seed)
    return size * torch.randn(1, tokens, WIDTH, generator=rng, dtype=torch.float64)


def gain(core: RecurrentCore, read: CoreInput, z: Tensor) -> float:
    """The largest singular value of the dense Jacobian of one loop."""
    with sdpa_kernel(SDPBackend.MATH):
        jacobian = torch.autograd.functional.jacobian(core.loop(read), z)
    return float(torch.linalg.matrix_norm(jacobian.view(z.numel(), z.numel()), 2))


def driven(
    core: RecurrentCore, read: CoreInput, z: Tensor, steps: int
) -> list[tuple[float, float]]:
    """Gain and certificate, now and then, while layers, input and state are moved to make it larger.

    Along a direction `v` that power iteration improves as it goes, the gain is `||J v||`.
    """
    x, z = read.x.clone().requires_grad_(), z.clone().requires_grad_()
    layers = core.get_submodule("bodies.0.layers")
    optimizer = torch.optim.Adam([*layers.parameters(), x, z], lr=0.1)
    v, found = torch.randn_like(z), []
    for number in range(steps + 1):
        if number % 10 == 0:
            now = CoreInput(x.detach(), read.attend)
            found.append((gain(core, now, z.detach()), core.certified_gain or 1.0))
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            image = core.loop(CoreInput(x, read.attend))(z)
            probe = torch.zeros_like(image, requires_grad=True)
            (pulled,) = torch.autograd.grad(image, z, probe, create_graph=True)
            (pushed,) = torch.autograd.grad(pulled, probe, v / v.norm(), create_graph=True)
            (v,) = torch.autograd.grad(image, z, pushed.detach(), retain_graph=True)
            optimizer.zero_grad()
            (-pushed.norm()).backward()
            optimizer.step()
    return found

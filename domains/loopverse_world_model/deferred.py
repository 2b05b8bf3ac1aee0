"""Deferred decoding: losses on states that nothing is decoded from, and the curriculum of the horizon.

`L = L_terminal(K) + alpha mean_k ||g(z_k) - stopgrad(E(obs_k))||^2
   + beta relu(sum_k ||z_{k+1} - z_k|| - K C_max)`, `K = min(K_max, 1 + step // Delta_K)`
(LoopWM, 2606.18208, section 3.4; the weights and C_max are not disclosed).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def horizon_at(batch: int, largest: int, growth: int) -> int:
    """The horizon `K` of a training batch: one more every `growth` batches, from 1."""
    return largest if growth == 0 else min(largest, 1 + batch // growth)


class LatentLosses(nn.Module):
    """What deferred decoding asks of the states on the way.

    Norms are root mean squares over channels, so that weights and limits mean the same at any width.

    Args:
        width: channels of a whole state.
        num_features: numbers that are read of an observation, `E(obs)`.
        latent_weight: alpha.
        smooth_weight: beta.
        smooth_limit: C_max, the length of a step that is free.
    """

    def __init__(
        self,
        width: int,
        num_features: int,
        latent_weight: float,
        smooth_weight: float,
        smooth_limit: float,
    ) -> None:
        super().__init__()
        self.latent_weight, self.smooth_weight = latent_weight, smooth_weight
        self.smooth_limit = smooth_limit
        self.project = nn.Linear(width, num_features) if latent_weight > 0 else None

    def forward(
        self,
        states: Float[Tensor, "b t d"],
        features: Float[Tensor, "b t f"],
        weights: Float[Tensor, "b t"],
    ) -> Tensor:
        """The penalty, a mean over rows.

        Args:
            states: after each step.
            features: of what is to be observed after each step.
            weights: 0 for steps that do not exist.
        """
        count = weights.sum().clamp(min=1e-9)
        penalty = states.new_zeros((), dtype=torch.float32)
        if self.project is not None:
            distance = (self.project(states).float() - features.detach()).square().mean(-1)
            penalty = penalty + self.latent_weight * (distance * weights).sum() / count
        if self.smooth_weight > 0 and states.shape[1] > 1:
            steps = (states[:, 1:] - states[:, :-1]).float()
            exists = weights[:, 1:]
            length = (steps.square().mean(-1) + 1e-12).sqrt() * exists
            excess = F.relu(length.sum(1) - self.smooth_limit * exists.sum(1))
            penalty = penalty + self.smooth_weight * excess.mean()
        return penalty

"""How a gradient changes the weights: the group `optimizer`."""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import Parameter

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


@dataclass
class Optimizer:
    """Builds the optimisers of a run. Subclasses are the options of the group `optimizer`."""

    def build(self, model: nn.Module) -> list[torch.optim.Optimizer]:
        """One or more optimisers that together own every trainable parameter once.

        Args:
            model: on its final device. A parameter whose attribute `no_weight_decay` is true, an
                embedding, or a tensor with fewer than two axes (norm, bias) does not decay.
        """
        raise NotImplementedError


@dataclass
class AdamW(Optimizer):
    """AdamW (Loshchilov & Hutter 2019, 1711.05101) for every parameter.

    Attributes:
        lr: peak learning rate; the group `rate` shapes it over the run.
        betas: decay of the averages of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: decoupled decay, times the learning rate, of matrices.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        first, second = self.betas
        self.betas = (first, second)  # from a file it comes as a list
        for name in ("lr", "eps", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} of AdamW must not be negative, got {getattr(self, name)}")
        if not 0 <= min(self.betas) <= max(self.betas) < 1:
            raise ValueError(f"betas of AdamW must be in [0, 1), got {list(self.betas)}")

    def build(self, model: nn.Module) -> list[torch.optim.Optimizer]:
        return [self.over(trainable(model), model)]

    def over(self, parameters: list[Parameter], model: nn.Module) -> torch.optim.Optimizer:
        """One optimiser for some of the model's parameters."""
        decays = decaying(model)
        groups = [
            {"params": [p for p in parameters if p in decays], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p not in decays], "weight_decay": 0.0},
        ]
        fused = all(p.device.type in ("cpu", "cuda", "mps") for p in parameters)
        return torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=self.lr,
            betas=self.betas,
            eps=self.eps,
            fused=fused,
        )


@dataclass
class Muon(Optimizer):
    """Muon for the hidden matrices of the core, AdamW for everything else.

    Orthogonalises the momentum of each matrix (Jordan et al. 2024) and scales the step to the size
    of AdamW's, so both share learning rate and decay (Liu et al. 2025, 2502.16982, section 2.2).
    Embeddings, heads (all that the domain owns), vectors and marked parameters go to AdamW.

    Attributes:
        lr: peak learning rate of the matrices.
        momentum: decay of the momentum, used in Nesterov's form.
        weight_decay: decoupled decay, times the learning rate, of the matrices.
        rest: AdamW for all other parameters.
    """

    lr: float = 1e-3
    momentum: float = 0.95
    weight_decay: float = 0.1
    rest: AdamW = field(default_factory=AdamW)

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} of Muon must not be negative, got {getattr(self, name)}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum of Muon must be in [0, 1), got {self.momentum}")

    def build(self, model: nn.Module) -> list[torch.optim.Optimizer]:
        matrices = hidden_matrices(model)
        owned = set(matrices)
        rest = [p for p in trainable(model) if p not in owned]
        if not matrices:
            return [self.rest.over(rest, model)]
        muon = torch.optim.Muon(
            matrices,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        return [muon, self.rest.over(rest, model)] if rest else [muon]


def trainable(model: nn.Module) -> list[Parameter]:
    """Every parameter that asks for a gradient, once each, in the model's order."""
    return [p for p in model.parameters() if p.requires_grad]


def decaying(model: nn.Module) -> set[Parameter]:
    """Parameters that weight decay may shrink: matrices that are no embeddings and not marked."""
    embedded = {p for m in model.modules() if isinstance(m, EMBEDDINGS) for p in m.parameters()}
    return {
        p
        for p in trainable(model)
        if p.ndim >= 2 and p not in embedded and not getattr(p, "no_weight_decay", False)
    }


def hidden_matrices(model: nn.Module) -> list[Parameter]:
    """Matrices of `model.core` that decay, have no axis of length one and are not the domain's."""
    core, adapter = model.get_submodule("core"), model.get_submodule("adapter")
    outside = set(adapter.parameters())
    decays = decaying(model)
    return [
        p
        for p in core.parameters()
        if p.ndim == 2 and min(p.shape) > 1 and p in decays and p not in outside
    ]

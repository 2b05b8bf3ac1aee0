"""Rules that look at what the domain would predict now: it no longer changes, or it is certain."""

from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    OneHotCategorical,
    kl_divergence,
)

from loopverse.depth.halting.base import Halting, Knob, Memory, Read, is_first


@dataclass
class PredictionKL(Halting):
    """Stops a unit whose prediction no longer changes: `KL(p_i || p_{i-1}) < tolerance`.

    The first loop has no earlier prediction, so that a unit gets at least two loops. Each loop reads one
    prediction; the one before is remembered, or, where a distribution is not made of one tensor entry for
    each unit, read again.

    Source: Huginn (2502.05171, section 6.1, 5e-4 nats); with the entropy bound 2604.07822.

    Attributes:
        tolerance: divergence, in nats, below which a prediction has settled.
        max_entropy: only units whose prediction has at most this entropy, in nats, stop; null: all.
    """

    tolerance: float = 5e-4
    max_entropy: float | None = None
    adaptive: ClassVar[bool] = True
    mixes_loops: ClassVar[bool] = True
    reads: ClassVar[bool] = True
    knob: ClassVar[Knob | None] = Knob("tolerance")

    def __post_init__(self) -> None:
        if self.tolerance <= 0:
            raise ValueError(f"halting.tolerance must be above 0, got {self.tolerance}")

    @torch.no_grad()
    def signal(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        read = _reader(self, read)
        now = read(after)
        tensors = _tensors(now, after.shape[:2])  # first: distributions compute more when asked
        known = memory.keys() == tensors.keys() != set()
        earlier = _made_of(now, memory) if known else None
        if is_first(i):
            return tensors, torch.full(after.shape[:2], float("inf"), device=after.device)
        moved = _divergence(now, read(before) if earlier is None else earlier, after)
        if self.max_entropy is not None:
            moved = moved.masked_fill(_entropy(now, after) > self.max_entropy, float("inf"))
        return tensors, moved

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        memory, moved = self.signal(memory, before, after, i, read, head)
        return memory, moved < self.tolerance


MEASURES = ("margin", "entropy")


@dataclass
class Confidence(Halting):
    """Stops a unit whose prediction is certain.

    Source: CALM (Schuster et al. 2022, 2207.07061, section 3.4: the difference of the two largest
    probabilities); entropy as in BranchyNet (1709.01686).

    Attributes:
        threshold: the margin from which on, or the entropy in nats up to which, a unit is certain.
        measure: "margin": the largest probability less the second largest, of categories; of several
            categories in a unit the least certain one counts. "entropy": of any prediction.
    """

    threshold: float = 0.9
    measure: str = "margin"
    adaptive: ClassVar[bool] = True
    mixes_loops: ClassVar[bool] = True
    reads: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ValueError(f'halting.measure must be "margin" or "entropy", got "{self.measure}"')
        if self.measure == "margin" and not 0 < self.threshold <= 1:
            raise ValueError(
                f"halting.threshold must be in (0, 1] for a margin, got {self.threshold}"
            )

    @property
    def knob(self) -> Knob:  # pyright: ignore[reportIncompatibleVariableOverride]  a setting decides
        """A large margin is certain, and a small entropy."""
        return Knob("threshold", "higher" if self.measure == "entropy" else "lower")

    @torch.no_grad()
    def signal(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        now = _reader(self, read)(after)
        if self.measure == "entropy":
            return memory, _entropy(now, after)
        return memory, _one_per_unit(_margin(now), after)

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int | Tensor,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        memory, certain = self.signal(memory, before, after, i, read, head)
        if self.measure == "entropy":
            return memory, certain <= self.threshold
        return memory, certain >= self.threshold


def _reader(rule: Halting, read: Read | None) -> Read:
    if read is None:
        raise ValueError(
            f"halting {type(rule).__name__} looks at predictions and nothing here predicts: pass `read` "
            "to iterate, or use halting=fixed_point"
        )
    return read


def _one_per_unit(value: Tensor, z: Tensor) -> Tensor:
    if value.shape != z.shape[:2]:
        raise ValueError(
            f"a rule that looks at predictions needs one for each unit, shape {list(z.shape[:2])}, and "
            f"this domain's has the shape {list(value.shape)}: use halting=fixed_point"
        )
    return value


def _divergence(p: Distribution, q: Distribution, z: Tensor) -> Tensor:
    try:
        return _one_per_unit(kl_divergence(p, q), z)
    except NotImplementedError as error:
        raise ValueError(
            f"halting PredictionKL needs the divergence of two {type(p).__name__} and none is registered: "
            "add it with torch.distributions.register_kl, or use halting=fixed_point"
        ) from error


def _entropy(p: Distribution, z: Tensor) -> Tensor:
    try:
        return _one_per_unit(p.entropy(), z)
    except NotImplementedError as error:
        raise ValueError(
            f"the entropy of {type(p).__name__} is not implemented: give it an entropy(), or use "
            "halting=fixed_point"
        ) from error


def _margin(p: Distribution) -> Tensor:
    """The largest probability less the second largest, of the batch shape of `p`."""
    if isinstance(p, Independent):
        return _margin(p.base_dist).flatten(len(p.batch_shape)).amin(-1)
    if isinstance(p, Bernoulli):
        return (2 * p.probs - 1).abs()
    if not isinstance(p, Categorical | OneHotCategorical):
        raise ValueError(
            f"halting.measure=margin needs categories and this domain predicts {type(p).__name__}: "
            "use halting.measure=entropy"
        )
    if p.probs.shape[-1] == 1:
        return p.probs[..., 0]
    first, second = p.probs.topk(2, dim=-1).values.unbind(-1)
    return first - second


def _tensors(node: Any, units: torch.Size, path: str = "") -> Memory:
    """What a distribution is made of, by path; empty where that is not tensors of units `[n t ...]`."""
    try:
        return dict(_leaves(node, units, path))
    except _OpaqueError:
        return {}


class _OpaqueError(Exception):
    """A distribution holds something that cannot be remembered."""


_PLAIN = (bool, int, float, str, torch.Size, type(None))


def _leaves(node: Any, units: torch.Size, path: str) -> list[tuple[str, Tensor]]:
    if isinstance(node, Tensor):
        if node.shape[:2] != units:
            raise _OpaqueError
        return [(path, node)]
    if isinstance(node, Distribution):
        node = vars(node)
    if isinstance(node, dict):
        return [
            leaf
            for name, part in node.items()
            for leaf in _leaves(part, units, f"{path}.{name}" if path else f"{name}")
        ]
    if not isinstance(node, _PLAIN):
        raise _OpaqueError
    return []


def _made_of(node: Any, tensors: Memory, path: str = "") -> Any:
    """A copy of a distribution with other tensors, those that `_tensors` found in an earlier one."""
    if isinstance(node, Tensor):
        return tensors[path]
    if isinstance(node, dict):
        return {
            name: _made_of(part, tensors, f"{path}.{name}" if path else f"{name}")
            for name, part in node.items()
        }
    if isinstance(node, Distribution):
        made = copy(node)
        vars(made).update(_made_of(vars(node), tensors, path))
        return made
    return node

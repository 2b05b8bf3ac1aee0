"""Observations as the vectors that a linear model works with, and back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from tensordict import TensorDict
from torch import Tensor

from loopverse_world_model.dynamics import Dynamics
from loopverse_world_model.leaves import CategoriesLeaf, LeafModel, VectorLeaf

COMPONENTS = 64
"""Directions that a picture is described by."""
PICTURES = 512
"""Pictures that these directions are found from."""


class Coordinates(ABC):
    """One leaf as a vector; sums and multiples of such vectors mean something.

    Attributes:
        size: numbers in the vector.
    """

    size: int

    @abstractmethod
    def of(self, raw: Tensor) -> Float[Tensor, "n f"]:
        """Raw values as vectors, in double precision."""

    @abstractmethod
    def back(self, vectors: Float[Tensor, "n f"]) -> Tensor:
        """The raw values nearest to the vectors."""


class Numbers(Coordinates):
    """Real numbers: standardised, in the scale that is modelled."""

    def __init__(self, model: VectorLeaf) -> None:
        self.model, self.size = model, model.leaf.size

    def of(self, raw: Tensor) -> Tensor:
        return (self.model.flat(raw).double() - self.model.mean) / self.model.std

    def back(self, vectors: Tensor) -> Tensor:
        flat = vectors * self.model.std + self.model.mean
        return self.model.raw(flat.float())


class Scores(Coordinates):
    """Categories, or bits: a score for each, of which the largest is meant, or those above one half."""

    def __init__(self, model: LeafModel) -> None:
        self.model, self.size = model, model.num_features

    def of(self, raw: Tensor) -> Tensor:
        return self.model.features(raw).double()

    def back(self, vectors: Tensor) -> Tensor:
        leaf = self.model.leaf
        if isinstance(self.model, CategoriesLeaf):
            groups = vectors.split(leaf.sizes, dim=-1)
            numbers = torch.stack([group.argmax(-1) for group in groups], -1) + leaf.start
        else:
            numbers = (vectors > 0.5).to(torch.int8)
        return numbers.reshape(len(vectors), *leaf.shape)


class Components(Coordinates):
    """Pictures: their principal components, a linear description as good as one of that size can be."""

    def __init__(self, model: LeafModel, raw: Tensor) -> None:
        self.model = model
        sample = model.flat(raw[torch.linspace(0, len(raw) - 1, PICTURES).long().unique()]).double()
        self.mean = sample.mean(0)
        centred = sample - self.mean
        squared, sides = torch.linalg.eigh(centred @ centred.T)  # pictures are fewer than pixels
        kept = squared > squared.max() * 1e-9
        scale = squared[kept].sqrt()[-COMPONENTS:]
        self.directions = centred.T @ sides[:, kept][:, -COMPONENTS:] / scale
        self.unit = scale / len(sample) ** 0.5
        self.size = len(scale)

    def of(self, raw: Tensor) -> Tensor:
        return (self.model.flat(raw).double() - self.mean) @ self.directions / self.unit

    def back(self, vectors: Tensor) -> Tensor:
        pixels = (vectors * self.unit) @ self.directions.T + self.mean
        return pixels.round().clamp(0, 255).to(torch.uint8).reshape(-1, *self.model.leaf.shape)


class ObservationCoordinates:
    """All leaves side by side.

    Args:
        dynamics: of a model that knows the scale of the data.
        records: of the training episodes, to find the components of pictures from.
    """

    def __init__(self, dynamics: Dynamics, records: TensorDict) -> None:
        self.paths: Sequence[str] = [leaf.path for leaf in dynamics.observed]
        self.parts = [
            _coordinates(dynamics.leaf(leaf), records["observation", leaf.path])
            for leaf in dynamics.observed
        ]
        self.sizes = [part.size for part in self.parts]
        self.size = sum(self.sizes)

    def of(self, observation: TensorDict) -> Float[Tensor, "n f"]:
        """Raw observations as vectors."""
        parts = zip(self.paths, self.parts, strict=True)
        return torch.cat([part.of(observation[path]) for path, part in parts], -1)

    def back(self, vectors: Float[Tensor, "n f"]) -> TensorDict:
        """The raw observations nearest to the vectors."""
        parts = zip(self.paths, self.parts, vectors.split(self.sizes, -1), strict=True)
        values = {path: part.back(vector) for path, part, vector in parts}
        return TensorDict(values, batch_size=[len(vectors)])


def _coordinates(model: LeafModel, raw: Tensor) -> Coordinates:
    if isinstance(model, VectorLeaf):
        return Numbers(model)
    return Components(model, raw) if model.leaf.kind == "image" else Scores(model)

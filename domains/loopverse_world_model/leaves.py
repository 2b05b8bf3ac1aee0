"""How each kind of leaf is read and predicted."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal
from torch.nn import functional as F

from loopverse_world_model.prediction import categories, normal
from loopverse_world_model.spaces import Leaf
from loopverse_world_model.statistics import fading, spread

FAR = 10.0
"""Standard deviations beyond which what is read is cut off."""
PICTURE_FEATURES = 256


def symlog(x: Tensor) -> Tensor:
    """`sign(x) log(1 + |x|)` (Hafner et al. 2023, 2301.04104, eq. 9)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """The inverse of `symlog`."""
    return x.sign() * x.abs().expm1()


class LeafModel(nn.Module):
    """One leaf: raw values to features, a state to a distribution, a distribution to raw values.

    Attributes:
        leaf: the leaf.
        num_features: numbers that `features` gives.
        anchored: whether the prediction is counted from the last observation.
    """

    num_features: int
    anchored: bool = False

    def __init__(self, leaf: Leaf) -> None:
        super().__init__()
        self.leaf = leaf

    def flat(self, raw: Tensor) -> Float[Tensor, "*batch n"]:
        """The numbers of a value on one axis, in the scale that is modelled."""
        batch = raw.shape[: raw.ndim - len(self.leaf.shape)]
        return raw.reshape(*batch, self.leaf.size).float()

    @abstractmethod
    def features(self, raw: Tensor) -> Float[Tensor, "*batch f"]:
        """What the network reads of it."""

    @abstractmethod
    def outputs(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch m"]:
        """Numbers from which the distribution of what comes next is made."""

    @abstractmethod
    def distribution(self, outputs: Float[Tensor, "*batch m"]) -> Distribution:
        """What comes next, in the units of `target`."""

    @abstractmethod
    def centre(self, outputs: Float[Tensor, "*batch m"]) -> Tensor:
        """The mean or the most likely value of `distribution`, which need not be made for it."""

    @abstractmethod
    def target(self, raw: Tensor, base: Tensor | None, age: Int[Tensor, "*batch"]) -> Tensor:
        """What the distribution should have given probability: the value, or its change since `base`.

        Args:
            raw: what came next.
            base: `flat` of the last observation, where the leaf is anchored.
            age: steps between that observation and the one before `raw`, 0 for the first step.
        """

    @abstractmethod
    def decode(
        self, centre: Tensor, base: Tensor | None, age: Int[Tensor, "*batch"] | None
    ) -> Tensor:
        """The raw value of a centre; the inverse of `target`. No age: the observation was just seen."""

    def follow(
        self, outputs: Float[Tensor, "*batch m"], base: Tensor | None
    ) -> tuple[Tensor | None, Float[Tensor, "*batch f"]]:
        """What comes next as if it were observed: the numbers it is anchored at, and its features."""
        raw = self.decode(self.centre(outputs), base, None)
        return None, self.features(raw)

    @abstractmethod
    def error(self, decoded: Tensor, raw: Tensor) -> Float[Tensor, "*batch n"]:
        """Squared errors in units of the data's spread; for categories and bits, 1 where wrong."""

    def fit(self, raw: Tensor, episode: Int[Tensor, " m"]) -> None:
        """Take the scale of the data from records in the order of their episodes."""


class VectorLeaf(LeafModel):
    """Real numbers, normally distributed around the last observation, which fades with its age.

    Predicted is the departure from what `statistics.fading` calls the best linear guess, in units of
    what that guess misses by.

    Args:
        leaf: the leaf.
        width: channels that are predicted from.
        horizon: steps for which it is measured how an observation fades.
        squash: predict the symlog of the numbers.
        anchored: predict from the last observation on; otherwise from the mean of the data.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    kept: Tensor
    missed: Tensor

    def __init__(self, leaf: Leaf, width: int, horizon: int, squash: bool, anchored: bool) -> None:
        super().__init__(leaf)
        self.num_features, self.squash, self.anchored = leaf.size, squash, anchored
        self.head = nn.Linear(width, 2 * leaf.size)
        nn.init.normal_(self.head.weight, std=0.1 / math.sqrt(width))
        nn.init.zeros_(self.head.bias)
        for name, value in (("mean", 0.0), ("std", 1.0), ("low", 0.0), ("high", 0.0)):
            self.register_buffer(name, torch.full((leaf.size,), value), persistent=False)
        for name in ("kept", "missed"):
            self.register_buffer(name, torch.ones(horizon, leaf.size), persistent=False)

    def flat(self, raw: Tensor) -> Tensor:
        numbers = super().flat(raw)
        return symlog(numbers) if self.squash else numbers

    def raw(self, flat: Tensor) -> Tensor:
        """The inverse of `flat`."""
        numbers = symexp(flat) if self.squash else flat
        return numbers.reshape(*flat.shape[:-1], *self.leaf.shape)

    def features(self, raw: Tensor) -> Tensor:
        return ((self.flat(raw) - self.mean) / self.std).clamp(-FAR, FAR)

    def outputs(self, z: Tensor) -> Tensor:
        return self.head(z)

    def distribution(self, outputs: Tensor) -> Independent:
        return normal(outputs)

    def centre(self, outputs: Tensor) -> Tensor:
        return outputs[..., : self.leaf.size].float()

    def guess(self, base: Tensor | None, age: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is predicted from, and the unit of what is predicted, each `[*batch n]`."""
        if not self.anchored or base is None:
            return self.mean, self.std
        if age is None:
            kept, missed = self.kept[0], self.missed[0]
        else:
            age = age.clamp(max=len(self.kept) - 1)
            kept, missed = self.kept[age], self.missed[age]
        return torch.lerp(self.mean, base.to(self.mean.dtype), kept), missed

    def target(self, raw: Tensor, base: Tensor | None, age: Tensor) -> Tensor:
        guess, unit = self.guess(base, age)
        return (self.flat(raw) - guess) / unit

    def decode(self, centre: Tensor, base: Tensor | None, age: Tensor | None) -> Tensor:
        guess, unit = self.guess(base, age)
        return self.raw(guess + centre * unit)

    def follow(self, outputs: Tensor, base: Tensor | None) -> tuple[Tensor | None, Tensor]:
        guess, unit = self.guess(base, None)
        flat = torch.addcmul(guess, self.centre(outputs), unit)
        features = ((flat - self.mean) / self.std).clamp(-FAR, FAR)
        return flat if self.anchored else None, features

    def error(self, decoded: Tensor, raw: Tensor) -> Tensor:
        return ((self.flat(decoded) - self.flat(raw)) / self.std).square()

    def fit(self, raw: Tensor, episode: Tensor) -> None:
        values = self.flat(raw)
        found = spread(values)
        self.mean.copy_(found.mean)
        self.std.copy_(found.std)
        self.low.copy_(found.low)
        self.high.copy_(found.high)
        kept, missed = fading(values, episode, len(self.kept))
        self.kept.copy_(kept)
        self.missed.copy_(missed)


class CategoriesLeaf(LeafModel):
    """Whole numbers, each one of a few: one-hot in, logits out."""

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__(leaf)
        self.num_features = sum(leaf.sizes)
        self.head = nn.Linear(width, sum(leaf.sizes))

    def _numbers(self, raw: Tensor) -> Tensor:
        return self.flat(raw).long() - self.leaf.start

    def features(self, raw: Tensor) -> Tensor:
        return one_hot(self._numbers(raw), self.leaf.sizes)

    def outputs(self, z: Tensor) -> Tensor:
        return self.head(z)

    def distribution(self, outputs: Tensor) -> Independent:
        return categories(outputs, self.leaf.sizes)

    def centre(self, outputs: Tensor) -> Tensor:
        parts = outputs.split(self.leaf.sizes, dim=-1)
        return torch.stack([part.argmax(-1) for part in parts], dim=-1)

    def target(self, raw: Tensor, base: Tensor | None, age: Tensor) -> Tensor:
        return self._numbers(raw)

    def decode(self, centre: Tensor, base: Tensor | None, age: Tensor | None) -> Tensor:
        numbers = centre + self.leaf.start
        return numbers.reshape(*numbers.shape[:-1], *self.leaf.shape)

    def error(self, decoded: Tensor, raw: Tensor) -> Tensor:
        return (self.flat(decoded) != self.flat(raw)).float()


class BitsLeaf(LeafModel):
    """Zeros and ones."""

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__(leaf)
        self.num_features = leaf.size
        self.head = nn.Linear(width, leaf.size)

    def features(self, raw: Tensor) -> Tensor:
        return self.flat(raw)

    def outputs(self, z: Tensor) -> Tensor:
        return self.head(z)

    def centre(self, outputs: Tensor) -> Tensor:
        return (outputs > 0).to(torch.int8)

    def distribution(self, outputs: Tensor) -> Independent:
        bits = Bernoulli(logits=outputs.float(), validate_args=False)
        return Independent(bits, 1, validate_args=False)

    def target(self, raw: Tensor, base: Tensor | None, age: Tensor) -> Tensor:
        return self.flat(raw)

    def decode(self, centre: Tensor, base: Tensor | None, age: Tensor | None) -> Tensor:
        return centre.reshape(*centre.shape[:-1], *self.leaf.shape)

    def error(self, decoded: Tensor, raw: Tensor) -> Tensor:
        return (self.flat(decoded) != self.flat(raw)).float()


class ImageLeaf(LeafModel):
    """Bytes `[height width channels]`: a small convolutional encoder and decoder.

    Pixels are normal around what is drawn, with one learned deviation for all.
    """

    std: Tensor

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__(leaf)
        height, wide, channels = leaf.shape
        self.num_features = PICTURE_FEATURES
        self.register_buffer("std", torch.ones(1), persistent=False)
        self.encoder = nn.Sequential(
            *(nn.Conv2d(channels, 16, 4, 2, 1), nn.SiLU()),
            *(nn.Conv2d(16, 32, 4, 2, 1), nn.SiLU()),
            *(nn.Conv2d(32, 64, 4, 2, 1), nn.SiLU()),
            *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, PICTURE_FEATURES)),
        )
        sizes = [(-(-height // k), -(-wide // k)) for k in (8, 4, 2, 1)]
        self.decoder = nn.Sequential(
            *(nn.Linear(width, 64 * math.prod(sizes[0])), nn.SiLU()),
            nn.Unflatten(1, (64, *sizes[0])),
            *(nn.Upsample(sizes[1]), nn.Conv2d(64, 32, 3, padding=1), nn.SiLU()),
            *(nn.Upsample(sizes[2]), nn.Conv2d(32, 16, 3, padding=1), nn.SiLU()),
            *(nn.Upsample(sizes[3]), nn.Conv2d(16, channels, 3, padding=1)),
        )
        self.log_std = nn.Parameter(torch.tensor(-1.0))

    def features(self, raw: Tensor) -> Tensor:
        batch = raw.shape[:-3]
        pixels = raw.reshape(-1, *self.leaf.shape).permute(0, 3, 1, 2)
        return self.encoder(pixels.to(self.std.dtype) / 255 - 0.5).reshape(*batch, -1)

    def outputs(self, z: Tensor) -> Tensor:
        drawn = self.decoder(z.reshape(-1, z.shape[-1])).permute(0, 2, 3, 1)
        return drawn.reshape(*z.shape[:-1], -1)

    def centre(self, outputs: Tensor) -> Tensor:
        return outputs.float() + 0.5

    def distribution(self, outputs: Tensor) -> Independent:
        mean = self.centre(outputs)
        std = self.log_std.clamp(-5, 0).exp().expand_as(mean)
        return Independent(Normal(mean, std, validate_args=False), 1, validate_args=False)

    def target(self, raw: Tensor, base: Tensor | None, age: Tensor) -> Tensor:
        return self.flat(raw) / 255

    def decode(self, centre: Tensor, base: Tensor | None, age: Tensor | None) -> Tensor:
        pixels = (centre * 255).round().clamp(0, 255).to(torch.uint8)
        return pixels.reshape(*pixels.shape[:-1], *self.leaf.shape)

    def error(self, decoded: Tensor, raw: Tensor) -> Tensor:
        return ((self.flat(decoded) - self.flat(raw)) / 255 / self.std).square()

    def fit(self, raw: Tensor, episode: Tensor) -> None:
        pixels = raw[:: max(1, len(raw) // 500)].float() / 255
        self.std.fill_(float(pixels.std()) or 1.0)


def build_leaf(leaf: Leaf, width: int, horizon: int, squash: bool, anchored: bool) -> LeafModel:
    """The model of a leaf, by its kind."""
    if leaf.kind == "vector":
        return VectorLeaf(leaf, width, horizon, squash, anchored)
    return {"categories": CategoriesLeaf, "bits": BitsLeaf, "image": ImageLeaf}[leaf.kind](
        leaf, width
    )


def one_hot(numbers: Int[Tensor, "*batch n"], sizes: Sequence[int]) -> Float[Tensor, "*batch m"]:
    """One-hot vectors of several categories side by side."""
    hot = [F.one_hot(numbers[..., i], size) for i, size in enumerate(sizes)]
    return torch.cat(hot, dim=-1).float()

"""Other people's checkpoints: which of their tensors becomes which of our parameters, as data."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

Size = int | str


@dataclass
class Piece:
    """A tensor of a checkpoint, or a part of one, brought into our layout.

    Attributes:
        source: its name in the checkpoint.
        view: shape to read it in first; a word is looked up in the sizes at hand, and one number may
            be -1. Empty: as it is.
        at: which entry of the first axis of the view to take; None: all.
        transpose: two axes to swap afterwards; empty: none.
    """

    source: str
    view: Sequence[Size] = ()
    at: int | None = None
    transpose: Sequence[int] = ()

    def of(self, tensor: Tensor, sizes: Mapping[str, int]) -> Tensor:
        """The piece that this describes of `tensor`.

        Raises:
            ValueError: an unknown size, or a view that does not fit the tensor.
        """
        if self.view:
            shape = [self._size(size, sizes) for size in self.view]
            try:
                tensor = tensor.reshape(shape)
            except RuntimeError as error:
                raise ValueError(
                    f"{self.source} of shape {list(tensor.shape)} cannot be viewed as {shape}: "
                    "mend its view in the weight map"
                ) from error
        if self.at is not None:
            tensor = tensor[self.at]
        return tensor.transpose(*self.transpose) if self.transpose else tensor

    def _size(self, size: Size, sizes: Mapping[str, int]) -> int:
        if isinstance(size, int):
            return size
        if size not in sizes:
            raise ValueError(
                f"the view of {self.source} names the size {size!r}, known are {sorted(sizes)}: "
                f"pass sizes={{'{size}': ...}}"
            )
        return sizes[size]


Pieces = list[Piece]
"""What a parameter is made of: pieces, one after the other along its first axis."""


@dataclass
class WeightMap:
    """Names, and where layouts differ reshapes, from a checkpoint to a module. Nothing is guessed.

    As a file (`read`), with `{n}` for the number of a layer:

        layers:                                   # blocks of ours: blocks of theirs
          coda.blocks.{n}: transformer.coda.{n}
        layer:                                    # within each of them
          feed_forward.down.weight: mlp.proj.weight
          attention.qkv.weight: [attn.q.weight, attn.k.weight, attn.v.weight]
          # Rotary pairs side by side there, half a head apart here.
          attention.q_bias: {source: attn.q_bias, view: [num_heads, -1, 2], transpose: [1, 2]}
        once:
          output_norm.weight: transformer.ln_f.weight
        ignore: [lm_head.*]

    Attributes:
        layers: prefix of our blocks -> prefix of theirs.
        layer: our parameter within a block -> the pieces it is made of.
        once: our parameter -> the pieces it is made of. Several may share a source.
        ignore: names, or patterns with `*`, that the checkpoint may have and nothing needs.
    """

    layers: dict[str, str] = field(default_factory=dict)
    layer: dict[str, Pieces] = field(default_factory=dict)
    once: dict[str, Pieces] = field(default_factory=dict)
    ignore: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: str | Path) -> "WeightMap":
        """The map that a YAML or JSON file holds.

        Raises:
            ValueError: a key that no map has.
        """
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
        known = ("layers", "layer", "once", "ignore")
        if not isinstance(content, dict) or not set(content) <= set(known):
            found = sorted(content) if isinstance(content, dict) else type(content).__name__
            raise ValueError(f"{path} must hold some of {', '.join(known)}, got {found}")
        return cls(
            layers=content.get("layers", {}),
            layer={name: _pieces(value) for name, value in content.get("layer", {}).items()},
            once={name: _pieces(value) for name, value in content.get("once", {}).items()},
            ignore=content.get("ignore", []),
        )

    def resolve(self, parameters: Sequence[str]) -> dict[str, Pieces]:
        """The pieces of every parameter of a module.

        Raises:
            ValueError: a parameter without a rule, or a rule without a parameter.
        """
        rules = dict(self.once)
        unused = {f"once: {name}" for name in set(self.once) - set(parameters)}
        unused |= {f"layer: {name}" for name in self.layer}
        for name in parameters:
            for within, prefix in self._blocks_of(name):
                if within in self.layer:
                    unused.discard(f"layer: {within}")
                    rules[name] = [
                        replace(piece, source=f"{prefix}.{piece.source}")
                        for piece in self.layer[within]
                    ]
        missing = sorted(set(parameters) - set(rules))
        if missing:
            raise ValueError(
                f"the weight map says nothing of {_some(missing)}: add a rule for each"
            )
        if unused:
            raise ValueError(
                f"the module has no parameter for {_some(sorted(unused))}: "
                "remove the rules, or build the module with those parts"
            )
        return rules

    def _blocks_of(self, name: str) -> Iterator[tuple[str, str]]:
        """Ways to read `name` as a parameter of a block: its name there, and the source's prefix."""
        for ours, theirs in self.layers.items():
            pattern = re.escape(ours).replace(r"\{n\}", r"(?P<n>\d+)") + r"\.(?P<within>.+)"
            match = re.fullmatch(pattern, name)
            if match:
                yield match["within"], theirs.replace("{n}", match.groupdict().get("n", ""))


def load_weights(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    mapping: WeightMap,
    *,
    sizes: Mapping[str, int] | None = None,
) -> None:
    """Copy a checkpoint into a module; every tensor of both must be accounted for.

    Args:
        module: what to fill: a `RecurrentCore`, or a whole model.
        weights: the checkpoint, by the names of its authors.
        mapping: what becomes what.
        sizes: numbers that the views of the mapping name, such as `num_heads`.

    Raises:
        ValueError: parameters without a rule, rules without a parameter or a source, tensors of the
            checkpoint that nothing uses and `ignore` does not list, shapes that differ. The module
            is left as it was.
    """
    parameters = dict(module.named_parameters())
    rules = mapping.resolve(list(parameters))
    named = {piece.source for pieces in rules.values() for piece in pieces}
    absent = sorted(named - set(weights))
    if absent:
        raise ValueError(f"the checkpoint has no {_some(absent)}: mend the names in the weight map")
    ignored = {name for name in weights if any(fnmatchcase(name, p) for p in mapping.ignore)}
    unused = sorted(set(weights) - named - ignored)
    if unused:
        raise ValueError(
            f"nothing uses {_some(unused)} of the checkpoint: add rules, or list them in ignore"
        )
    values = {
        name: _joined(name, parameters[name], pieces, weights, sizes or {})
        for name, pieces in rules.items()
    }
    with torch.no_grad():
        for name, value in values.items():
            parameters[name].copy_(value)


def _joined(
    name: str,
    parameter: Tensor,
    pieces: Pieces,
    weights: Mapping[str, Tensor],
    sizes: Mapping[str, int],
) -> Tensor:
    rest = parameter.shape[1:]
    found = []
    for piece in pieces:
        value = piece.of(weights[piece.source], sizes)
        found.append(value.reshape(-1, *rest) if piece.view else value)
    fits = all(value.shape[1:] == rest for value in found)
    if not fits or sum(len(value) for value in found) != len(parameter):
        shapes = " and ".join(
            f"{p.source} {list(v.shape)}" for p, v in zip(pieces, found, strict=True)
        )
        raise ValueError(f"{name} has the shape {list(parameter.shape)}, got {shapes}")
    return torch.cat(found)


def _pieces(value: Any) -> Pieces:
    """Pieces from their short forms: a name, a mapping, or a list of both."""
    values = value if isinstance(value, list) else [value]
    return [Piece(v) if isinstance(v, str) else Piece(**v) for v in values]


def _some(names: Sequence[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

"""Other people's checkpoints: every tensor is used or ignored by name, every parameter filled."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from loopverse.nn import Piece, WeightMap, load_weights


class Ours(nn.Module):
    """Two layers of two parameters, and one more."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 6) for _ in range(2))
        self.last = nn.Linear(6, 2, bias=False)


def theirs() -> dict[str, Tensor]:
    weights = {"head": torch.randn(2, 6), "table": torch.randn(3)}
    for n in range(2):
        weights[f"h.{n}.a"], weights[f"h.{n}.b"] = torch.randn(2, 4), torch.randn(4, 4)
        weights[f"h.{n}.bias"] = torch.arange(6.0) + n
    return weights


def a_map() -> WeightMap:
    return WeightMap(
        layers={"layers.{n}": "h.{n}"},
        layer={
            "weight": [Piece("a"), Piece("b")],
            "bias": [Piece("bias", view=["pairs", 2], transpose=[0, 1])],
        },
        once={"last.weight": [Piece("head")]},
        ignore=["tab*"],
    )


def test_names_pieces_and_reshapes_are_all_there_is_to_it() -> None:
    module, weights = Ours(), theirs()
    load_weights(module, weights, a_map(), sizes={"pairs": 3})
    for n in range(2):
        joined = torch.cat([weights[f"h.{n}.a"], weights[f"h.{n}.b"]])
        assert torch.equal(module.layers[n].weight, joined)
        assert (module.layers[n].bias - n).tolist() == [0, 2, 4, 1, 3, 5]
    assert torch.equal(module.last.weight, weights["head"])


def test_an_entry_of_a_view_can_be_taken() -> None:
    module = nn.Linear(2, 3, bias=False)
    fused = torch.arange(12.0)
    rule = WeightMap(once={"weight": [Piece("fused", view=[2, 3, 2], at=1)]})
    load_weights(module, {"fused": fused}, rule)
    assert torch.equal(module.weight, fused.view(2, 3, 2)[1])


def test_a_map_reads_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(
        "layers: {'layers.{n}': 'h.{n}'}\n"
        "layer:\n"
        "  weight: [a, b]\n"
        "  bias: {source: bias, view: [pairs, 2], transpose: [0, 1]}\n"
        "once: {last.weight: head}\n"
        "ignore: [tab*]\n"
    )
    assert WeightMap.read(path) == a_map()
    path.write_text("layer: {}\nrename: {}\n")
    with pytest.raises(ValueError, match=r"must hold some of layers, .* got \['layer', 'rename'\]"):
        WeightMap.read(path)


def without_rule(rules: WeightMap, weights: dict[str, Tensor]) -> None:
    del rules.layer["bias"]


def without_parameter(rules: WeightMap, weights: dict[str, Tensor]) -> None:
    rules.once["first.weight"] = [Piece("head")]


def without_layer_parameter(rules: WeightMap, weights: dict[str, Tensor]) -> None:
    rules.layer["gain"] = [Piece("bias")]


def without_source(rules: WeightMap, weights: dict[str, Tensor]) -> None:
    del weights["h.1.b"]


def without_use(rules: WeightMap, weights: dict[str, Tensor]) -> None:
    rules.ignore.clear()


def of_other_shape(rules: WeightMap, weights: dict[str, Tensor]) -> None:
    weights["head"] = weights["head"].T


def too_short(rules: WeightMap, weights: dict[str, Tensor]) -> None:
    rules.layer["weight"].pop()
    rules.ignore.append("h.*.b")


def of_unknown_size(rules: WeightMap, weights: dict[str, Tensor]) -> None:
    rules.layer["bias"][0].view = ["heads", 2]


def of_impossible_view(rules: WeightMap, weights: dict[str, Tensor]) -> None:
    rules.layer["bias"][0].view = [4, -1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_rule, r"says nothing of layers.0.bias, layers.1.bias: add a rule"),
        (without_parameter, r"no parameter for once: first.weight: remove the rules"),
        (without_layer_parameter, r"no parameter for layer: gain"),
        (without_source, r"the checkpoint has no h.1.b: mend the names"),
        (without_use, r"nothing uses table of the checkpoint: add rules, or list them in ignore"),
        (of_other_shape, r"last.weight has the shape \[2, 6\], got head \[6, 2\]"),
        (too_short, r"layers.0.weight has the shape \[6, 4\], got h.0.a \[2, 4\]"),
        (of_unknown_size, r"names the size 'heads', known are \['pairs'\]: pass sizes="),
        (of_impossible_view, r"h.0.bias of shape \[6\] cannot be viewed as \[4, -1\]"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_copied(damage, message: str) -> None:
    module, weights, rules = Ours(), theirs(), a_map()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    damage(rules, weights)
    with pytest.raises(ValueError, match=message):
        load_weights(module, weights, rules, sizes={"pairs": 3})
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())

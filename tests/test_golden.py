"""The core speaks others' architectures: their weights, mapped by data, give their authors' logits.

The architectures are the presets of `configs/core/`; the sizes are those of the stored weights.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from cores import preset
from safetensors import safe_open
from torch import Tensor

from loopverse.depth import LoopPlan
from loopverse.nn import (
    Attend,
    CoreConfig,
    CoreInput,
    KVCache,
    PositionNoise,
    RecurrentCore,
    WeightMap,
    Zeros,
    load_weights,
)

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = {"atol": 1e-4, "rtol": 0.0}


@dataclass
class Golden:
    """A published model: our core with its weights, and its authors' inputs and outputs."""

    core: RecurrentCore
    embedding: Tensor
    head: Tensor
    tensors: dict[str, Tensor]

    def logits(
        self,
        ids: Tensor,
        loops: int,
        padding: Tensor | None = None,
        cache: KVCache | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        inputs = CoreInput(self.embedding[ids], Attend(True, padding), positions, cache=cache)
        with torch.no_grad():
            output = self.core(inputs, LoopPlan(loops), PositionNoise())
        return output.readouts[-1] @ self.head.T


def read(name: str) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """The configuration, the weights by their authors' names, and everything else."""
    with safe_open(GOLDEN / f"{name}_64.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (no mapping)
        config = json.loads(file.metadata()["config"])
    weights = {
        k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")
    }
    return config, weights, tensors


def filled(config: CoreConfig, weights: dict[str, Tensor], name: str) -> RecurrentCore:
    core = RecurrentCore(config)
    sizes = {"num_heads": config.num_heads, "width": config.width}
    load_weights(core, weights, WeightMap.read(GOLDEN / f"{name}.yaml"), sizes=sizes)
    return core


@pytest.fixture(scope="module")
def huginn() -> Golden:
    config, weights, tensors = read("huginn")
    core = preset(
        "huginn",
        width=config["n_embd"],
        num_heads=config["n_heads"],
        num_kv_heads=config["n_heads"],
        mlp_hidden=config["intermediate_size"],
        num_prelude=config["n_layers_in_prelude"],
        num_loop=config["n_layers_in_recurrent_block"],
        num_coda=config["n_layers_in_coda"],
        init=Zeros(),
    )
    embedding = weights["transformer.wte.weight"] * config["n_embd"] ** 0.5
    return Golden(filled(core, weights, "huginn"), embedding, weights["lm_head.weight"], tensors)


@pytest.fixture(scope="module")
def ouro() -> Golden:
    config, weights, tensors = read("ouro")
    core = preset(
        "ouro",
        width=config["hidden_size"],
        num_heads=config["num_attention_heads"],
        num_kv_heads=config["num_key_value_heads"],
        mlp_hidden=config["intermediate_size"],
        num_loop=config["num_hidden_layers"],
    )
    embedding = weights["model.embed_tokens.weight"]
    return Golden(filled(core, weights, "ouro"), embedding, weights["lm_head.weight"], tensors)


@pytest.mark.parametrize("loops", [1, 2, 4, 8])
def test_huginn_gives_its_authors_logits(huginn: Golden, loops: int) -> None:
    ours = huginn.logits(huginn.tensors["input_ids"], loops)
    torch.testing.assert_close(ours, huginn.tensors[f"out.logits_r{loops}"], **TOLERANCE)


def test_ouro_gives_its_authors_logits(ouro: Golden) -> None:
    ours = ouro.logits(ouro.tensors["input_ids"], 4)
    torch.testing.assert_close(ours, ouro.tensors["out.logits"], **TOLERANCE)


def test_ouro_gives_its_authors_logits_beside_left_padding(ouro: Golden) -> None:
    present = ouro.tensors["out.left_padded_mask"].bool()
    assert not present.all()
    ours = ouro.logits(ouro.tensors["out.left_padded_ids"], 4, padding=present)
    theirs = ouro.tensors["out.left_padded_logits"]
    torch.testing.assert_close(ours[present], theirs[present], **TOLERANCE)


@pytest.mark.parametrize("loops", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["huginn", "ouro"])
def test_left_padding_changes_nothing_for_any_number_of_loops(
    name: str, loops: int, request: pytest.FixtureRequest
) -> None:
    golden: Golden = request.getfixturevalue(name)
    ids = golden.tensors["input_ids"]
    num_padding = torch.tensor([0, 3, 17])
    padded = torch.stack([torch.roll(row, int(n)) for row, n in zip(ids, num_padding, strict=True)])
    present = torch.arange(40) >= num_padding[:, None]
    ours = golden.logits(padded, loops, padding=present)
    for row, n in enumerate(num_padding):
        alone = golden.logits(ids[row : row + 1, : 40 - n], loops)
        torch.testing.assert_close(ours[row : row + 1, n:], alone, **TOLERANCE)


def continued(golden: Golden, prompt: Tensor, length: int, *, cached: bool) -> list[int]:
    ids, cache = prompt, KVCache() if cached else None
    while ids.shape[1] < length:
        new = ids if cache is None else ids[:, cache.length :]
        logits = golden.logits(new, 4, cache=cache)
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
    return ids[0].tolist()


@pytest.mark.parametrize("cached", [True, False])
def test_ouro_continues_a_prompt_as_its_authors_code_does(ouro: Golden, cached: bool) -> None:
    theirs = ouro.tensors["out.greedy"]
    assert continued(ouro, theirs[:, :8], theirs.shape[1], cached=cached) == theirs[0].tolist()

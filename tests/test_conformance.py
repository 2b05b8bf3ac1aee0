"""Every domain of this repository keeps the whole contract, whatever the settings."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from loopverse.registry import domain_entry_points, load_domain
from loopverse.testing import Check, domain_checks

REPOSITORY = Path(__file__).resolve().parents[1]
OURS = [
    name
    for name, point in domain_entry_points().items()
    if (REPOSITORY / "domains" / point.module.split(".")[0]).is_dir()
]

POLE = {"horizon": 4, "transitions": 400, "env": "CartPole-v1"}
"""Whose episodes are short where nothing was learned."""
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "autoregressive": [
        {"context": 24},
        {"context": 24, "tokenizer": "bpe", "vocab_size": 300, "tie_embeddings": True},
        {"context": 24, "separate_documents": True, "scale_embedding": False},
    ],
    "masked_diffusion": [
        {"context": 24},
        {"context": 24, "masking": "fixed_count", "draws": 2, "tie_embeddings": True},
        {"context": 24, "masking": "independent", "separate_documents": True},
        {"context": 24, "condition_on_noise": True},
        {"context": 24, "carry": True},
    ],
    "puzzle": [
        {"held_out": 64},
        {"kind": "maze", "side": 7, "held_out": 64, "segments": 2},
        {"kind": "s5", "length": 8, "longer": 12, "growth": 1, "held_out": 64},
        {"kind": "a5", "length": 6, "longer": 8, "carried": True, "held_out": 64},
    ],
    "world_model": [
        {"horizon": 4, "transitions": 400},
        {**POLE, "imagine": "latent", "decode": "deferred"},
        {**POLE, "tokens": 2, "context": 2, "predict": "value"},
        {**POLE, "symlog": True, "hold": 3, "value_steps": 5},
    ],
}
"""Settings that each domain is checked with: small, and every branch once."""
SHOWING = ("what_it_shows_comes_without_an_error", "where_the_loops_went_is_known")
LONG_TO_SHOW = ("world_model",)
"""Domains that play episodes for it."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty short documents, no two alike."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(40):
        lines = [f"def power_{number}_{n}(x):\n    return x ** {n} + {number}\n" for n in range(5)]
        (folder / f"{number:02d}.py").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _a_cache_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOPVERSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_every_domain_of_ours_is_installed_and_checked() -> None:
    packages = [path.name for path in (REPOSITORY / "domains").glob("loopverse_*")]
    assert len(OURS) == len(packages)
    assert set(VARIANTS) == set(OURS)


def cases() -> list[Any]:
    """Every check with every variant; what is long to show is shown of the first one, of others when asked."""
    found = []
    for name, variants in VARIANTS.items():
        for settings in variants:
            for check in domain_checks():
                marks = []
                if check.name in SHOWING and name in LONG_TO_SHOW and settings is not variants[0]:
                    marks.append(pytest.mark.slow)
                label = "-".join([name, *map(str, settings.values()), check.name])
                found.append(pytest.param(name, settings, check, id=label, marks=marks))
    return found


@pytest.mark.parametrize(("name", "settings", "check"), cases())
def test_our_domain_keeps_the_contract(
    name: str, settings: dict[str, Any], check: Check, corpus: Path
) -> None:
    adapter = load_domain(name)
    reads_text = "corpus" in {item.name for item in fields(adapter.Config)}
    check(adapter, adapter.Config(**settings, **({"corpus": str(corpus)} if reads_text else {})))

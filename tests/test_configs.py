"""Every file and option of the configuration: it composes, builds, trains, and says what its paper says."""

import json
from pathlib import Path
from typing import Any

import pytest
import toy
import yaml

from loopverse import depth, nn, registry
from loopverse.training import sources, train
from loopverse.training.compose import compose
from loopverse.training.config import GROUPS

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
TOY = ["domain=toy", "size=tiny"]

PUBLISHED: dict[str, dict[str, Any]] = {
    "plain": {
        "layers": (1, 2, 1),
        "loops": 4,
        "injection": nn.Add(),
        "init": nn.Zeros(),
        "schedule": depth.Constant(4),
        "gradient": depth.Full(),
    },
    "huginn": {
        "layers": (2, 4, 2),
        "loops": 32,
        "injection": nn.Concat(),
        "init": nn.Normal(std=0.0, truncated=True),
        "schedule": depth.LognormalPoisson(mean=32, sigma=0.5, per_sequence=False),
        "gradient": depth.Truncated(8),
        "norms": "sandwich_sum",
        "state_norm": "last",
        "qk_bias": True,
        "rotary_base": 50_000.0,
    },
    "parcae": {
        "layers": (2, 2, 2),
        "loops": 8,
        "injection": nn.Retention(decay=(1 / 5) ** 0.5),
        "init": nn.Normal(),
        "schedule": depth.Poisson(mean=8, per_sequence=True),
        "gradient": depth.Truncated(4),
        "prelude_norm": True,
    },
    "ouro": {
        "layers": (0, 24, 0),
        "loops": 4,
        "injection": nn.NoInjection(),
        "init": nn.Embed(),
        "schedule": depth.Constant(4),
        "gradient": depth.Full(),
        "halting": depth.ExitGate(),
        "objective": depth.Expected(),
        "norms": "sandwich",
        "state_norm": "every",
        "output_norm": False,
    },
    "loopmdm": {
        "layers": (1, 2, 9),
        "loops": 4,
        "injection": nn.NoInjection(),
        "init": nn.Embed(),
        "schedule": depth.Uniform(1, 4, per_sequence=False),
        "gradient": depth.Full(),
    },
    "loopwm": {
        "layers": (1, 2, 1),
        "loops": 8,
        "injection": nn.RetentionResidual(),
        "init": nn.Normal(),
        "schedule": depth.Poisson(mean=8, per_sequence=True),
        "gradient": depth.Truncated(4),
        "prelude_norm": True,
    },
    "fprm": {
        "layers": (0, 2, 0),
        "loops": 6,
        "injection": nn.Scaled(stream=0.75, state=0.25),
        "init": nn.Normal(),
        "schedule": depth.Constant(6),
        "gradient": depth.Full(),
    },
}
"""The rows of the table of published architectures; what a row does not name is the default."""
PUBLISHED["loopmdm_short"] = {**PUBLISHED["loopmdm"], "layers": (1, 2, 3)}

DEFAULTS = {
    "halting": depth.FixedDepth(),
    "objective": depth.Final(),
    "norms": "pre",
    "state_norm": "none",
    "prelude_norm": False,
    "output_norm": True,
    "qk_bias": False,
    "rotary_base": 10_000.0,
    "tied": True,
    "scale_branches": False,
    "conditioned": False,
}


@pytest.fixture(autouse=True)
def _toy_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "domain_entry_points", registry.domain_entry_points)
    toy.register()


def test_every_core_is_in_the_table() -> None:
    assert {path.stem for path in (CONFIGS / "core").glob("*.yaml")} == PUBLISHED.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_core_says_what_its_paper_says(name: str) -> None:
    config = compose([*TOY, f"core={name}"])
    core = config.core
    found: dict[str, Any] = {
        "layers": (core.num_prelude, core.num_loop, core.num_coda),
        "schedule": config.schedule,
        "gradient": config.gradient,
        "halting": config.halting,
        "objective": config.objective,
    }
    for setting, expected in (DEFAULTS | PUBLISHED[name]).items():
        value = found.get(setting, getattr(core, setting, None))
        assert (type(value), value) == (type(expected), expected), setting


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_core_builds_and_trains(name: str, tmp_path: Path) -> None:
    quick = ["steps=2", "batch_size=2", "valid_batches=1", "trackers=[]"]
    line = [*TOY, f"core={name}", "name=run", f"runs={tmp_path}", "core.width=16"]
    config = compose([*line, "core.num_heads=2", *(f"training.{setting}" for setting in quick)])
    run = train(config)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows if row["split"] == "train"] == [1, 2]
    assert all(row["loss"] > 0 for row in rows if row["split"] == "train")
    assert run.folder.config == config


@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group, names in GROUPS.items() for option in names]
)
def test_every_option_of_every_group_can_be_chosen(group: str, option: str) -> None:
    config = compose([*TOY, f"{group}={option}"])
    value: Any = config
    for name in group.split("/"):
        value = getattr(value, name)
    assert type(value) is GROUPS[group][option]
    assert config.choices[group] == option


@pytest.mark.parametrize(
    "path",
    sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "study"),
    ids=lambda path: str(path.relative_to(CONFIGS)),
)
def test_a_settings_file_holds_differences_and_no_class(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "_target_" not in text
    assert text.startswith("#"), "a file begins with what it is"
    assert isinstance(yaml.safe_load(text), dict)
    group = path.parent.relative_to(CONFIGS).as_posix()
    if group not in (".", "domain"):
        assert compose([*TOY, f"{group}={path.stem}"])


@pytest.mark.parametrize("option", [*GROUPS["schedule"], "poisson_per_sequence"])
def test_core_loops_is_the_one_knob_of_depth(option: str) -> None:
    config = compose([*TOY, f"schedule={option}", "core.loops=7"])
    assert config.schedule.typical() == config.core.loops == 7


@pytest.mark.parametrize(("loops", "half"), [(8, 4), (7, 4), (1, 1)])
def test_loopwm_differentiates_through_half_of_the_loops(loops: int, half: int) -> None:
    config = compose([*TOY, "core=loopwm", f"core.loops={loops}"])
    assert config.gradient == depth.Truncated(half)


def test_sizes_are_widths_that_their_heads_divide() -> None:
    names = [path.stem for path in (CONFIGS / "size").glob("*.yaml")]
    cores = [compose(["domain=toy", f"size={name}"]).core for name in names]
    assert sorted(core.width for core in cores) == [64, 128, 256, 512]
    assert all(core.width % core.num_heads == 0 for core in cores)


def test_the_default_is_a_plain_looped_model_of_text() -> None:
    config = compose()
    assert config.choices["domain"] == "autoregressive"
    assert config.choices["core"] == "plain"
    assert config == compose(["core=plain", "size=small", "domain=autoregressive"])
    assert config.core.loops > 1


def test_a_domain_picks_a_core_a_core_its_strategies_and_the_line_beats_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "domain").mkdir()
    (tmp_path / "domain" / "toy.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n"
        "  - /schema/domain/toy@domain\n"
        "  - _self_\n"
        "  - override /core: huginn\n"
        "  - override /schedule: ramp\n"
        "domain: {length: 5}\n"
        "training: {steps: 77}\n"
    )
    monkeypatch.setattr(sources, "domain_folders", lambda: {"toy": tmp_path})
    config = compose(["domain=toy"])
    assert (config.domain.length, config.training.steps) == (5, 77)
    assert config.choices["core"] == "huginn"
    assert config.gradient == depth.Truncated(8)  # as huginn has it
    assert config.schedule == depth.Ramp(loops=32)  # the domain knows better than huginn
    line = ["domain=toy", "core=parcae", "gradient=full", "domain.length=6", "training.steps=1"]
    config = compose(line)
    assert (config.domain.length, config.training.steps) == (6, 1)
    assert config.core.injection == nn.Retention()
    assert config.gradient == depth.Full()
    assert compose([*line, "schedule=uniform"]).schedule == depth.Uniform(1, 8)

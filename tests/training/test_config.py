"""The configuration of a run: what it refuses, and that its two files give it back."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import MISSING

from loopverse import depth, nn
from loopverse.errors import UserError
from loopverse.training.config import (
    GROUPS,
    TrainConfig,
    load_config,
    save_config,
    strategy_names,
)
from loopverse.training.optim import AdamW

words = st.text(
    st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="$"), max_size=20
)


def with_options(config: TrainConfig, options: dict[str, str]) -> TrainConfig:
    """The same configuration with an option of every group, each as its class makes it."""
    made: dict[str, Any] = {group: GROUPS[group][name]() for group, name in options.items()}
    core = replace(config.core, injection=made.pop("core/injection"), init=made.pop("core/init"))
    return replace(config, core=core, **made)


@settings(deadline=None, max_examples=60)
@given(st.fixed_dictionaries({group: st.sampled_from([*names]) for group, names in GROUPS.items()}))
def test_any_choice_of_strategies_comes_back_from_its_files(
    tmp_path_factory: pytest.TempPathFactory, options: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    config = with_options(toy.toy_config(folder), options)
    assert config.choices.items() >= options.items()
    save_config(config, folder)
    assert load_config(folder) == config


@settings(deadline=None, max_examples=60)
@given(
    name=words,
    lr=st.floats(1e-12, 1e12),
    seed=st.integers(-(2**63), 2**63),
    clip=st.none() | st.floats(1e-9, 1e9),
    trackers=st.lists(words, max_size=3),
)
def test_any_value_comes_back_from_its_files(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    lr: float,
    seed: int,
    clip: float | None,
    trackers: list[str],
) -> None:
    folder = tmp_path_factory.mktemp("run")
    config = toy.toy_config(folder, clip=clip, trackers=trackers)
    config = replace(config, name=name, seed=seed, optimizer=AdamW(lr=lr))
    save_config(config, folder)
    assert load_config(folder) == config


def test_a_strategy_that_was_put_in_later_is_the_one_that_is_saved(tmp_path: Path) -> None:
    config = toy.toy_config(tmp_path)
    config.schedule = depth.Ramp(loops=5)
    config.core.init = nn.Normal(std=0.5)
    save_config(config, tmp_path)
    loaded = load_config(tmp_path)
    assert (loaded.schedule, loaded.core.init) == (depth.Ramp(loops=5), nn.Normal(std=0.5))


def test_the_options_of_a_group_can_be_told_apart_by_their_class() -> None:
    for group, options in GROUPS.items():
        assert len(set(options.values())) == len(options), group


def test_a_configuration_knows_what_was_chosen(tmp_path: Path) -> None:
    config = toy.toy_config(tmp_path)
    assert config.choices.items() >= strategy_names(config).items()
    assert config.choices.keys() == {"domain", *GROUPS}


def test_a_strategy_of_ones_own_is_refused_until_it_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass
    class Mine(depth.Constant):
        """A schedule of my own."""

    config = replace(toy.toy_config(tmp_path), schedule=Mine(3))
    with pytest.raises(UserError, match=r'schedule Mine has no name .*GROUPS\["schedule"\]'):
        save_config(config, tmp_path)
    monkeypatch.setitem(GROUPS["schedule"], "mine", Mine)
    save_config(config, tmp_path)
    assert load_config(tmp_path).schedule == Mine(3)


def test_a_configuration_without_its_strategies_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs core/injection, .*schedule, .*domain: pass them"):
        TrainConfig()
    assert TrainConfig.schedule == MISSING


def test_a_core_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    config = toy.toy_config(tmp_path)
    with pytest.raises(ValueError, match=r"core.num_heads must divide core.width"):
        replace(config, core=replace(config.core, num_heads=3))


def edit(folder: Path, file: str, before: str, after: str) -> None:
    text = (folder / file).read_text(encoding="utf-8")
    assert before in text
    (folder / file).write_text(text.replace(before, after), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "before", "after", "complaint"),
    [
        ("config.yaml", "seed:", "sede:", "does not fit .*: Key 'sede'"),
        ("config.yaml", "seed: 0", "seed: 0\nsede: 0", "does not fit .*: Key 'sede'"),
        ("config.yaml", "seed: 0", "seed: x", "does not fit this version .* Integer"),
        ("config.yaml", "domain:", "domain: [", "is damaged and cannot be read as YAML"),
        ("choices.yaml", "domain: toy", "- x", "choices.yaml is damaged"),
        ("choices.yaml", "schedule: constant", "other: x", "does not say which schedule"),
        ("choices.yaml", "schedule: constant", "schedule: constent", "did you mean 'constant'?"),
        ("choices.yaml", "domain: toy", "domain: tyo", "unknown domain 'tyo'"),
        ("choices.yaml", "schedule: constant", "schedule: uniform", "does not fit .*: Key 'loops'"),
    ],
)
def test_files_that_were_damaged_or_changed_are_refused(
    tmp_path: Path, file: str, before: str, after: str, complaint: str
) -> None:
    save_config(toy.toy_config(tmp_path), tmp_path)
    edit(tmp_path, file, before, after)
    with pytest.raises(UserError, match=complaint):
        load_config(tmp_path)


@pytest.mark.parametrize("file", ["config.yaml", "choices.yaml"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, file: str, share: float) -> None:
    save_config(toy.toy_config(tmp_path), tmp_path)
    lines = (tmp_path / file).read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / file).write_text("".join(lines[: int(share * len(lines))]), encoding="utf-8")
    with pytest.raises(UserError, match=r"cut short|does not say which"):
        load_config(tmp_path)


def test_a_run_that_is_older_than_a_setting_has_its_default_and_says_so(tmp_path: Path) -> None:
    config = toy.toy_config(tmp_path)
    save_config(config, tmp_path)
    edit(tmp_path, "config.yaml", "seed: 0\n", "")
    with pytest.warns(UserWarning, match=r"config.yaml is older than seed: taken as 0$"):
        assert load_config(tmp_path) == config
    edit(tmp_path, "config.yaml", "...\n", "")  # what is cut short may lack its last settings alone
    with pytest.raises(UserError, match="has no seed: it was cut short, or is of another version"):
        load_config(tmp_path)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    save_config(toy.toy_config(tmp_path), tmp_path)
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"is not a run folder: it has no config.yaml"):
        load_config(tmp_path)

"""Composition from Python: the same overrides, plain objects, one sentence for a mistake."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import toy
from hydra.core.global_hydra import GlobalHydra
from omegaconf import MISSING

from loopverse import depth, nn
from loopverse.errors import UserError
from loopverse.training.compose import compose
from loopverse.training.config import TrainConfig
from loopverse.training.optim import AdamW, Muon


def test_what_comes_out_are_the_plain_objects() -> None:
    config = compose(["domain=toy", "schedule=uniform", "schedule.low=2", "optimizer=muon"])
    assert type(config) is TrainConfig
    assert config.domain == toy.ToyConfig()
    assert type(config.core) is nn.CoreConfig
    assert config.schedule == depth.Uniform(low=2, high=config.core.loops)
    assert type(config.optimizer) is Muon
    assert type(config.training.trackers) is list


def test_pairs_come_out_as_pairs() -> None:
    config = compose(["domain=toy", "optimizer.betas=[0.5,0.9]"])
    assert isinstance(config.optimizer, AdamW)
    assert config.optimizer.betas == (0.5, 0.9)


def test_what_was_chosen_is_written_down() -> None:
    config = compose(["domain=toy", "core=parcae"])
    assert config.choices["core"] == "parcae"
    assert config.choices["size"] == "small"
    assert config.choices["gradient"] == "truncated"  # of which truncated_4 is a setting
    assert not [group for group in config.choices if group.startswith("hydra")]


def test_a_later_override_beats_an_earlier_one() -> None:
    assert compose(["domain=toy", "seed=1", "seed=2"]).seed == 2


def test_nothing_of_hydra_stays_behind() -> None:
    compose(["domain=toy"])
    assert not GlobalHydra.instance().is_initialized()
    with pytest.raises(UserError):
        compose(["domain=toy", "core.lops=1"])
    assert not GlobalHydra.instance().is_initialized()


def test_text_keeps_its_commas_spaces_and_braces_when_quoted() -> None:
    for text in ("a, b.txt", "x{1}", "key=value", "~/notes/*.md", "hf:owner/name"):
        assert compose(["domain=toy", f'name="{text}"']).name == text


@dataclass
class Needy:
    """Settings that somebody has to give.

    Attributes:
        path: where.
        pair: two numbers.
        any_number: some numbers.
        inner: settings within settings.
    """

    path: str = MISSING
    pair: tuple[int, int] = (1, 2)
    any_number: tuple[int, ...] = (1,)
    inner: toy.ToyConfig = field(default_factory=toy.ToyConfig)


@pytest.fixture
def _needy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.Toy, "Config", Needy)


@pytest.mark.usefixtures("_needy")
@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ([], r"^domain.path has no value: write domain.path=VALUE$"),
        (["domain.pair=[1]"], r"^domain.pair must be a list of 2, got \[1\]$"),
        (["domain.pair=[1,x]"], r"domain.pair\[1\] must be a whole number, got x"),
        (["+domain.inner.other=1"], r"^unknown setting 'domain.inner.other'"),
        (["domain.inner=3"], r"domain.inner must be set one by one: length, lag, flip and so on"),
        (["domain.inner.lag=null"], r"domain.inner.lag must be a whole number, got null"),
        (["domain.path=${domain.pth}"], r"domain.path refers to a setting that is not there"),
    ],
)
def test_a_strangers_settings_are_checked_like_ours(overrides: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        compose(["domain=toy", *overrides])


@pytest.mark.usefixtures("_needy")
def test_a_strangers_settings_come_out_as_they_were_declared() -> None:
    config = compose(["domain=toy", "domain.path=x", "domain.any_number=[1,2,3]"])
    assert config.domain == Needy("x", any_number=(1, 2, 3))


def test_only_the_domain_that_is_chosen_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger.py").write_text("raise RuntimeError('imported')\n")
    info = tmp_path / "stranger-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[loopverse.domains]\nstrange = stranger:Strange\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert compose(["domain=toy"]).choices["domain"] == "toy"
    assert "stranger" not in sys.modules
    with pytest.raises(UserError, match=r"does not import \(RuntimeError: imported\)"):
        compose(["domain=strange"])
    with pytest.raises(UserError, match=r"did you mean 'strange'\?"):
        compose(["domain=strang"])


def test_the_folder_of_settings_is_found_in_a_wheel_and_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loopverse.training import sources

    module = tmp_path / "loopverse" / "training" / "sources.py"
    (tmp_path / "configs").mkdir()
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(sources, "__file__", str(module))
    assert sources.config_folder() == tmp_path / "configs"
    (tmp_path / "loopverse" / "configs").mkdir()
    assert sources.config_folder() == tmp_path / "loopverse" / "configs"

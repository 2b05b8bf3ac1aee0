"""What the tests of analysis share: the toy domain, installed, and a trained and evaluated run."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import toy

from loopverse import registry
from loopverse.analysis import evaluate_run
from loopverse.depth import Poisson
from loopverse.training import RunFolder, train


@pytest.fixture(autouse=True, scope="module")
def _toy_is_installed() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "domain_entry_points", registry.domain_entry_points)
        toy.register()
        yield


@pytest.fixture(scope="module")
def trained(_toy_is_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = toy.toy_config(tmp_path_factory.mktemp("runs"))
    folder = train(replace(config, schedule=Poisson(mean=2))).folder
    evaluate_run(folder)
    return folder.path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> RunFolder:
    """A toy run of six steps with a depth drawn at each, evaluated; a copy, to do harm to."""
    return RunFolder(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def per_sequence_run(tmp_path: Path) -> RunFolder:
    """A toy run whose every sequence has a depth of its own."""
    schedule = Poisson(mean=2, per_sequence=True)
    return train(replace(toy.toy_config(tmp_path), schedule=schedule)).folder

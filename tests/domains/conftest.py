"""A cache and a small corpus for every test."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPVERSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Thirty documents of a hundred bytes and more."""
    root = tmp_path / "corpus"
    root.mkdir()
    for number in range(30):
        (root / f"{number}.txt").write_text(f"{number} the naïve cat sat on the mat.\n" * 4)
    return root

"""What all tests share: one thread per worker, and a copy of the checkout to plant mistakes in."""

import os
import shutil
import subprocess
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two workers on two cores

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the packages in a repository of its own, to plant violations in."""
    root = tmp_path / "checkout"
    for folder in ("loopverse", "domains"):
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=unwanted)
    subprocess.run(["git", "init", "-q", root], check=True, timeout=60)
    return root

"""What all tests share: one thread a worker, a cache of their own, a copy of the checkout."""

import atexit
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from source_code import REPOSITORY

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two workers on two cores
if "LOOPVERSE_CACHE" not in os.environ:  # workers have it from the process that started them
    os.environ["LOOPVERSE_CACHE"] = tempfile.mkdtemp(prefix="loopverse-tests-")
    atexit.register(shutil.rmtree, os.environ["LOOPVERSE_CACHE"], ignore_errors=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the packages in a repository of its own, to plant violations in."""
    root = tmp_path / "checkout"
    for folder in ("loopverse", "domains"):
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=unwanted)
    subprocess.run(["git", "init", "-q", root], check=True, timeout=60)
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pages of the documentation first: they take longest, and no worker should end alone with one."""
    items.sort(key=lambda item: "test_docs.py" not in item.nodeid)

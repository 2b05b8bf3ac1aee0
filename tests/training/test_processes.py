"""Several processes train what one would with a batch as large as theirs together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training.processes import configuration

from loopverse.training import RunFolder, train

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "number",
    [pytest.param(0, id="undisturbed"), pytest.param(15, id="sigterm", marks=pytest.mark.slow)],
)
def test_two_processes_train_what_one_does(tmp_path: Path, number: int) -> None:
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc_per_node",
                "2",
            ),
            *(str(TESTS / "training" / "processes.py"), str(tmp_path / "two"), str(number)),
        ],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    two = RunFolder.open(tmp_path / "two" / "run")
    one = train(configuration(tmp_path / "one", 1)).folder
    assert two.facts["processes"] == 2
    for split, keys in (("train", ("loss", "grad_norm", "depth")), ("valid", ("nats_per_bit",))):
        for key in keys:
            ours, theirs = ([row[key] for row in run.rows.read(split)] for run in (two, one))
            assert ours == pytest.approx(theirs, rel=1e-3), key
    ours, theirs = (load_file(run.at("last") / "model.safetensors") for run in (two, one))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-5)

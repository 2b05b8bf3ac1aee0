"""A program that kills training again and again and checks that nothing is lost by it.

Run as `python killing.py FOLDER KILLS SEED`. It forks before it computes anything, so that a trial costs a
training run and no start of Python. Every other kill is aimed at the writing of a checkpoint, which
is made slow for it. Prints one line of JSON.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
import toy

from loopverse import depth
from loopverse.errors import UserError
from loopverse.training import RunFolder, checkpoint, train
from loopverse.training.optim import Muon

STEPS, EVERY = 16, 4


def configuration(folder: Path, name: str):
    """Everything that could break a resume at once."""
    config = toy.toy_config(
        folder,
        steps=STEPS,
        accumulate=2,
        ema=0.9,
        batch_size=2,
        precision="bf16",
        checkpoint_every=EVERY,
        evaluate_every=8,
        valid_batches=1,
    )
    config.name = name
    config.domain = toy.ToyConfig(dropout=0.1, flip=0.1, tied=True)
    config.schedule = depth.Poisson(mean=2, per_sequence=True)
    config.optimizer = Muon(lr=1e-2)
    config.choices |= {"schedule": "poisson", "optimizer": "muon"}
    return config


def slow_writes() -> None:
    """Stretch the writing of a file of a checkpoint, half of it there already."""
    whole = checkpoint.save_file

    def slow(tensors: dict[str, torch.Tensor], path: Path) -> None:
        whole(tensors, path)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        time.sleep(0.15)
        path.write_bytes(content)

    checkpoint.save_file = slow


def forked(work: Callable[[], object]) -> int:
    """Do `work` in a child; returns its process id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


def finish(folder: Path, name: str) -> None:
    """Train to the end from wherever the run stands."""
    try:
        RunFolder.open(folder / name)
    except UserError:  # killed before there was a run
        shutil.rmtree(folder / name, ignore_errors=True)
        train(configuration(folder, name))
    else:
        train(run=folder / name)


def kill_somewhere(
    folder: Path, name: str, writing: bool, length: float, rng: random.Random
) -> bool:
    """Kill training at a random moment, aimed at a checkpoint's writing if `writing`.

    Returns:
        Whether a checkpoint was being written.
    """

    def work() -> None:
        if writing:
            slow_writes()
        train(configuration(folder, name))

    child = forked(work)
    if writing:
        wanted = rng.randrange(STEPS // EVERY)
        seen: set[str] = set()
        while len(seen) <= wanted and os.waitpid(child, os.WNOHANG) == (0, 0):
            seen |= {path.name for path in (folder / name).glob("checkpoints/.*.new.tmp")}
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.3))
    else:
        time.sleep(rng.uniform(0, length))
    with suppress(ProcessLookupError, ChildProcessError):  # it may be done already
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return bool(list((folder / name).glob("checkpoints/.*.new.tmp")))


def outcome(folder: Path, name: str) -> dict[str, bytes | str]:
    """All that must not depend on when the run was killed."""
    last = RunFolder.open(folder / name).at("last")
    files: dict[str, bytes | str] = {
        path.name: path.read_bytes() for path in last.glob("*.safetensors")
    }
    timed = ("seconds", "units_per_second")
    rows = RunFolder(folder / name).rows.read()
    rows = [{key: row[key] for key in row if key not in timed} for row in rows]
    return files | {"step": last.name, "rows": json.dumps(rows)}


def main(folder: Path, kills: int, seed: int) -> None:
    """Compare `kills` killed and resumed runs with one that nothing happened to."""
    torch.set_num_threads(1)
    toy.register()
    rng = random.Random(seed)
    began = time.monotonic()
    assert os.waitpid(forked(lambda: finish(folder, "whole")), 0)[1] == 0
    length = time.monotonic() - began
    whole = outcome(folder, "whole")
    different, in_writing, early = [], 0, 0
    for trial in range(kills):
        name = f"killed-{trial}"
        in_writing += kill_somewhere(folder, name, trial % 2 == 0, length, rng)
        early += not (folder / name / "run.json").exists()
        assert os.waitpid(forked(lambda name=name: finish(folder, name)), 0)[1] == 0
        killed = outcome(folder, name)
        different += [f"{trial}: {part}" for part in whole if killed.get(part) != whole[part]]
    report = {"kills": kills, "in_writing": in_writing, "early": early, "different": different}
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

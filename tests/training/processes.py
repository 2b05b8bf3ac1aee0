"""A program that trains the toy in as many processes as it is launched in: `processes.py FOLDER SIGNAL`."""

import os
import sys
from pathlib import Path

import toy

from loopverse import depth
from loopverse.training import Reporter, Stopped, train
from loopverse.training.config import TrainConfig
from loopverse.training.rows import Row


def configuration(folder: Path, processes: int) -> TrainConfig:
    """The same training for one or two processes: the same sequences and depths at each step."""
    config = toy.toy_config(folder, batch_size=4 // processes, accumulate=2, valid_batches=None)
    config.schedule = depth.Uniform(1, 3, per_sequence=True)
    config.choices["schedule"] = "uniform"
    return config


class Stop(Reporter):
    """Sends this process, which is one of several, a signal after step 2."""

    def __init__(self, number: int) -> None:
        self.number = number

    def trained(self, row: Row) -> None:
        if row["step"] == 2 and self.number:
            os.kill(os.getpid(), self.number)


if __name__ == "__main__":
    toy.register()
    try:
        train(configuration(Path(sys.argv[1]), 2), reporter=Stop(int(sys.argv[2])))
    except Stopped as stop:
        train(run=stop.folder)

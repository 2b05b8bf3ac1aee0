"""What a domain has to show of a run: collected once, kept in the run folder, read by all who show it.

exhibits.json     every exhibit, in the order in which the domain yielded them
exhibits/         their pictures, `NAME.png` and `NAME.gif`
allocation.json   where the loops went under a rule to stop early; its pictures in allocation/
diagnosis.json    what each loop does, and what looks unhealthy
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

from loopverse.errors import UserError
from loopverse.exhibit import (
    Curves,
    Estimate,
    Exhibit,
    HeatMap,
    Picture,
    Series,
    ShadedText,
    TableExhibit,
)
from loopverse.model import LoopedModel
from loopverse.training.evaluation import SEED
from loopverse.training.files import write_bytes, write_text
from loopverse.training.seeding import seed_everything

EXHIBITS = "exhibits"
"""What the domain shows: the name of the file in the run folder, and of the folder of its pictures."""
DIAGNOSIS = "diagnosis"
"""What `loopverse.diagnosis` found: the name of its file."""
KINDS: dict[str, type[Exhibit]] = {
    "table": TableExhibit,
    "heat map": HeatMap,
    "curves": Curves,
    "shaded text": ShadedText,
    "picture": Picture,
}
"""Every kind by its name in the file."""


@dataclass
class Exhibition:
    """All that a domain shows of a run.

    Attributes:
        exhibits: in the domain's order.
        step: optimiser steps behind the weights.
        problem: why there is no more of it; empty where the domain came to its end.
    """

    exhibits: Sequence[Exhibit]
    step: int = 0
    problem: str = ""

    def save(self, run: Path, name: str = EXHIBITS) -> None:
        """Write it into a run folder; a crash at any moment leaves something that can be read.

        Pictures first, then the file that names them, and only then pictures that it no longer names
        are removed. With nothing to show there is no file.

        Args:
            run: the run folder.
            name: of the file, and of the folder of its pictures.
        """
        folder, names = run / name, picture_names(self.exhibits)
        if names:
            folder.mkdir(exist_ok=True)
        for place, file in names.items():
            picture = self.exhibits[place]
            assert isinstance(picture, Picture)
            write_bytes(folder / file, picture.data)
        if self.exhibits or self.problem:
            content = {
                "step": self.step,
                "problem": self.problem,
                "exhibits": [
                    _record(exhibit, names.get(place, ""))
                    for place, exhibit in enumerate(self.exhibits)
                ],
            }
            write_text(run / f"{name}.json", json.dumps(content, indent=1) + "\n")
        else:
            (run / f"{name}.json").unlink(missing_ok=True)
        for path in folder.iterdir() if folder.exists() else ():
            if path.name not in names.values():
                path.unlink()
        if folder.exists() and not names:
            shutil.rmtree(folder)

    @classmethod
    def load(cls, run: Path, name: str = EXHIBITS) -> Exhibition:
        """Read what `save` wrote; a run folder without it has nothing to show.

        Raises:
            ValueError: a file is damaged, or a picture is gone.
        """
        path = run / f"{name}.json"
        if not path.exists():
            return cls([])
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            exhibits = [_exhibit(record, run / name) for record in content.pop("exhibits")]
            return cls(exhibits=exhibits, **content)
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            again = {EXHIBITS: f"evaluate {run}", DIAGNOSIS: f"diagnose {run}"}
            raise UserError(
                f"{path} or a picture of it is damaged and cannot be read: write it again with "
                f"`loopverse {again.get(name, f'evaluate {run} halting=NAME')}`"
            ) from error


@torch.no_grad()
def collect_exhibits(
    model: LoopedModel, loops: Sequence[int], trained: int, step: int = 0
) -> Exhibition:
    """Ask a model's domain what there is to show, with the same random numbers every time.

    An error of the domain ends it and is kept as `problem`; with `LOOPVERSE_TRACEBACK=1` it is also
    printed where it happened.

    Args:
        model: on the device to use; left in the mode it was in.
        loops: the depths to show.
        trained: the depth that the model is used with.
        step: optimiser steps behind the weights, to note down.
    """
    adapter, training = model.adapter, model.training
    seed_everything(SEED, 0, "exhibits", next(model.parameters()).device)
    model.eval()
    try:
        exhibits, problem = gathered(
            lambda: adapter.exhibits(lambda n: model.bind(n, seed=SEED), list(loops), trained),
            f"{type(adapter).__name__}.exhibits",
        )
    finally:
        model.train(training)
    return Exhibition(exhibits, step, problem)


def gathered(ask: Callable[[], Iterable[Exhibit]], source: str) -> tuple[list[Exhibit], str]:
    """What somebody shows, up to the first error, and that error in a sentence; empty: there was none.

    Args:
        ask: for what is shown.
        source: who shows it.
    """
    exhibits: list[Exhibit] = []
    try:
        for exhibit in ask():
            if type(exhibit) not in KINDS.values():
                kinds = ", ".join(kind.__name__ for kind in KINDS.values())
                raise TypeError(f"expected one of {kinds}, got {type(exhibit).__name__}")
            exhibits.append(exhibit)
    except (
        Exception
    ) as error:  # whatever a stranger's code raises: the run has a report all the same
        return exhibits, problem_of(error, f"{source} failed after {len(exhibits)} of them")
    return exhibits, ""


def problem_of(error: Exception, what: str) -> str:
    """An error of a stranger's code in a sentence; printed whole with `LOOPVERSE_TRACEBACK=1`."""
    if os.environ.get("LOOPVERSE_TRACEBACK") == "1":
        traceback.print_exception(error)
    return f"{what} ({type(error).__name__}: {' '.join(str(error).split())})"


def picture_names(exhibits: Sequence[Exhibit]) -> dict[int, str]:
    """The file of each picture in `PICTURES`, by its place: its title, with a number where that is taken."""
    names: dict[int, str] = {}
    for place, exhibit in enumerate(exhibits):
        if isinstance(exhibit, Picture):
            stem = re.sub(r"[^a-z0-9]+", "-", exhibit.title.lower()).strip("-")[:60] or "picture"
            name, number = f"{stem}.{exhibit.kind}", 1
            while name in names.values():
                number += 1
                name = f"{stem}-{number}.{exhibit.kind}"
            names[place] = name
    return names


def _record(exhibit: Exhibit, file: str) -> dict[str, Any]:
    kind = next(name for name, known in KINDS.items() if type(exhibit) is known)
    values = {item.name: getattr(exhibit, item.name) for item in fields(exhibit)}
    if isinstance(exhibit, Picture):
        del values["data"]
        values["file"] = file
    return {"kind": kind, **_plain(values)}


def _exhibit(record: dict[str, Any], pictures: Path) -> Exhibit:
    kind = KINDS[record.pop("kind")]
    if kind is Picture:
        record["data"] = (pictures / Path(record.pop("file")).name).read_bytes()
    return kind(**{name: _built(value) for name, value in record.items()})


def _plain(value: Any) -> Any:
    """A value as JSON holds it; numbers that are not finite, and dataclasses, become objects."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"number": repr(float(value))}
    return value


def _built(value: Any) -> Any:
    """The inverse of `_plain`."""
    if isinstance(value, list):
        return [_built(item) for item in value]
    if not isinstance(value, dict):
        return value
    items = {key: _built(item) for key, item in value.items()}
    if items.keys() == {"number"}:
        return float(items["number"])
    return Estimate(**items) if "margin" in items else Series(**items)

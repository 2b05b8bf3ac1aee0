"""`metrics.jsonl`: one JSON object a line, added as training goes, cut back on resume.

Rows of training steps have `split: train` and loss, grad_norm, rate, depth, units, units_per_second;
rows of evaluations have `split: valid`, loops and the domain's metrics; with each comes one of `split:
loops`, how the state moves in every loop of a held-out batch. All have `step` and `seconds`.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loopverse.errors import UserError
from loopverse.training.files import sync, write_text

Row = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """The rows of a run.

    Attributes:
        path: the file; it need not exist yet.
    """

    path: Path

    def append(self, row: Row) -> None:
        """Add a row; figures that are not finite become null."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def read(self, split: str | None = None) -> list[Row]:
        """All rows in order, or those of "train" or "valid"; a last line cut short is left out.

        Raises:
            UserError: a line is not what was written.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                if line.endswith("\n") and split in (None, row["split"]):
                    rows.append(row)
            except (ValueError, TypeError, KeyError) as error:
                if number < len(lines):
                    raise UserError(
                        f"{self.path} is damaged in line {number}: remove that line to go on"
                    ) from error
        return rows

    def rewind(self, step: int) -> None:
        """Forget all rows after `step`."""
        if self.path.exists():
            kept = [_line(row) for row in self.read() if row["step"] <= step]
            write_text(self.path, "".join(kept))

    def sync(self) -> None:
        """Wait until the rows are on disk."""
        if self.path.exists():
            sync(self.path)


def _line(row: Row) -> str:
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
    return json.dumps(finite) + "\n"

"""The halting rule that calibration chose for a run."""

import json
from pathlib import Path

from loopverse.depth.halting import Halting
from loopverse.depth.halting.naming import built
from loopverse.errors import UserError

FILE = "calibration.json"
"""Where `loopverse calibrate` writes, in the run folder."""


def calibrated_rule(run: Path) -> Halting:
    """The rule that `halting=calibrated` stands for.

    Raises:
        ValueError: the run is not calibrated, no rule saved anything, or the file is damaged.
    """
    try:
        chosen = json.loads((run / FILE).read_text(encoding="utf-8"))["chosen"]
    except FileNotFoundError:
        raise UserError(
            f"halting=calibrated needs a calibrated run: `loopverse calibrate {run}` comes first"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{run / FILE} is damaged and cannot be read: write it again with "
            f"`loopverse calibrate {run}`"
        ) from error
    if not chosen:
        raise UserError(
            f"no rule saved anything in {run} within the bound: leave halting=calibrated out, or allow "
            f"more, as in `loopverse calibrate {run} --max-increase 2%`"
        )
    return built(chosen)

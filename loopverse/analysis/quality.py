"""How good what a model makes is, against the compute it took: the table, and its file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loopverse.analysis.records import read_record, write_record
from loopverse.analysis.statistics import Estimate, estimate
from loopverse.errors import UserError

FILE = "quality.json"
"""Where `evaluate_quality` writes, in the run folder."""


@dataclass
class Quality:
    """Texts made with one number of loops and of steps; lists have an entry per text.

    Attributes:
        loops: of a call of the core, on average or at most, as budget and halting rule say.
        steps: of sampling; 0 where the domain has no such setting, or decides itself.
        blocks: block evaluations per text (`loopverse.analysis.efficiency.BlockCount`).
        seconds: per text.
        nats: minus the log-likelihood of each text under the judge; none without a judge.
        tokens: units of the judge in each text.
        sizes: bytes (UTF-8) of each text.
        entropies: bits per byte of each text (`loopverse.analysis.diversity.byte_entropy`).
        distinct: distinct-1, -2 and -3 over all texts.
        sample: the first text.
    """

    loops: int
    steps: int
    blocks: float
    seconds: float
    nats: list[float]
    tokens: list[float]
    sizes: list[int]
    entropies: list[float]
    distinct: list[float]
    sample: str = ""

    @property
    def entropy(self) -> Estimate:
        """Of the bytes of a text, in bits; the mean over texts, with its interval."""
        return estimate(self.entropies, [1.0] * len(self.entropies))

    @property
    def nats_per_token(self) -> Estimate:
        """Under the judge; its exponential is the generative perplexity. The interval is over texts."""
        return _ratio(self.nats, self.tokens)

    @property
    def bits_per_byte(self) -> Estimate:
        """Under the judge, whatever its tokeniser; the interval is over texts."""
        return _ratio([nats / math.log(2) for nats in self.nats], self.sizes)


@dataclass
class QualityTable:
    """A row per number of loops and of steps, all with the same random draws.

    Attributes:
        judge: the run folder of the judge, as it was given; empty without one.
        judge_step: optimiser steps behind the judge's weights.
        step: optimiser steps behind the weights of the run.
        samples: texts of a row.
        words: what differs from the defaults of sampling, as it is written on the command line.
        device: what it ran on.
        rows: shallow to deep, and for each depth from few to many steps.
    """

    judge: str
    judge_step: int
    step: int
    samples: int
    words: list[str]
    device: str
    rows: list[Quality]

    @property
    def by_loops(self) -> dict[int, list[Quality]]:
        """The rows of each number of loops."""
        return {
            loops: [row for row in self.rows if row.loops == loops]
            for loops in sorted({row.loops for row in self.rows})
        }

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically; figures that are not finite become null."""
        write_record(path, self)

    @classmethod
    def load(cls, path: Path) -> "QualityTable":
        """Read what `save` wrote.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            content = read_record(path)
            rows = [Quality(**row) for row in content.pop("rows")]
            return cls(rows=rows, **content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path} is damaged and cannot be read: write it again with "
                f"`loopverse evaluate {path.parent} --samples 16`"
            ) from error


def _ratio(amounts: Sequence[float], sizes: Sequence[float]) -> Estimate:
    """Amounts over sizes, both summed over texts; an empty text tells nothing."""
    known = [(amount / size, size) for amount, size in zip(amounts, sizes, strict=True) if size > 0]
    if not known:
        return Estimate(math.nan, None)
    return estimate([value for value, _ in known], [size for _, size in known])

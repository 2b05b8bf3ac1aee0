"""Thresholds of halting rules: the soonest stop that a stated loss of quality allows."""

from dataclasses import asdict, dataclass
from itertools import islice

from loopverse.analysis.signals import Signals, listen
from loopverse.analysis.ways import WayTable, read_in_ways
from loopverse.depth import Halting
from loopverse.errors import UserError
from loopverse.model import LoopedModel
from loopverse.training.evaluation import SEED, Way

CANDIDATES = 200
"""Thresholds that are thought of, at even quantiles of what a rule looks at."""
WHOLE, RULE = "whole", "rule"


@dataclass
class Amount:
    """How much held-out data to read, and how; the fields are arguments of `held_out`."""

    batch_size: int
    max_batches: int | None = None
    precision: str = "fp32"


@dataclass
class Found:
    """A rule with the threshold that was found for it.

    Attributes:
        rule: as it was given, where none was found.
        note: why none was found; empty where one was.
    """

    rule: Halting
    note: str = ""


def found_on(number: int) -> bool:
    """Whether thresholds are found on the batch of this number."""
    return number % 2 == 0


def measured_on(number: int) -> bool:
    """Whether what was found is measured on the batch of this number."""
    return number % 2 == 1


class Search:
    """Looks for thresholds on the batches that are for that.

    Args:
        model: on the device to use.
        loops: the most that a unit gets.
        amount: of held-out data, of which half is looked at.
        bound: how much the headline metric may rise over that with all loops, as a share of it.

    Raises:
        ValueError: fewer than two batches, a metric of 0, or a core that cannot run so many loops.
    """

    def __init__(self, model: LoopedModel, loops: int, amount: Amount, bound: float) -> None:
        self._model, self._loops, self._amount, self._bound = model, loops, amount, bound
        batches = model.adapter.batches("valid", batch_size=amount.batch_size, seed=SEED)
        if sum(1 for _ in islice(batches, min(2, amount.max_batches or 2))) < 2:
            raise UserError(
                f"there is not enough held-out data in {type(model.adapter).__name__}: calibration needs at "
                "least 2 batches, one to find thresholds on and one to measure; give it more data, or a "
                "smaller --batch-size"
            )
        whole = self._read(WHOLE, Way(loops))
        self.batches = len(whole.weights)
        self._whole = whole.value(whole[WHOLE]).value
        if self._whole == 0:
            metric = model.adapter.metric.replace("_", " ")
            raise UserError(
                f"with {loops} loops the {metric} is 0, and of nothing no share can be lost: calibrate on harder data, or "
                "choose fewer --loops"
            )

    @property
    def enough(self) -> int:
        """The fewest loops that, given to all units, are within the bound."""
        depths = range(1, self._loops)
        within = (depth for depth in depths if self._increase(Way(depth)) <= self._bound)
        return next(within, self._loops)

    def found(self, rule: Halting) -> Found:
        """The rule with the threshold that stops units soonest within the bound.

        The metric is taken to grow with how soon units stop, and the candidates are bisected. A rule
        without a knob is taken as it is, or not at all.
        """
        knob = rule.knob
        if knob is None:
            cost = self._increase(self._way(rule))
            return Found(rule, f"as it is, it costs {cost:+.2%}" if cost > self._bound else "")
        try:
            signals = listen(self._model, rule, self._loops, only=found_on, **asdict(self._amount))
        except ValueError as error:  # what it looks at is not there
            return Found(rule, str(error))
        candidates = _candidates(rule, signals)
        tried: dict[int, float] = {}

        def increase(place: int) -> float:
            if place not in tried:
                tried[place] = self._increase(self._way(candidates[place]))
            return tried[place]

        low, high = -1, len(candidates)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if increase(middle) <= self._bound else (low, middle)
        if low >= 0:
            return Found(candidates[low])
        if not candidates:
            return Found(rule, f"no {knob.setting} stops a unit before the last loop")
        return Found(
            rule,
            f"{knob.setting}={candidates[0].knob_value:.3g}, which stops next to no one, costs {increase(0):+.2%} already; "
            f"what it looks at is {signals.in_words()}",
        )

    def _way(self, rule: Halting) -> Way:
        return Way(self._loops, rule)

    def _increase(self, way: Way) -> float:
        table = self._read(RULE, way)
        return (table.value(table[RULE]).value - self._whole) / abs(self._whole)

    def _read(self, name: str, way: Way) -> WayTable:
        return read_in_ways(self._model, {name: way}, name, only=found_on, **asdict(self._amount))


def _candidates(rule: Halting, signals: Signals) -> list[Halting]:
    """The rule with each threshold that is worth a thought and that it can have."""
    rules = []
    for value in signals.thresholds(CANDIDATES):
        try:
            rules.append(rule.with_knob(value))
        except ValueError:
            continue
    return rules

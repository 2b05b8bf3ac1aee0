"""What a check is, and how many of them are run and reported."""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from loopverse.domain import DomainAdapter
from loopverse.errors import UserError
from loopverse.testing.bench import Bench, global_seed
from loopverse.testing.failure import CheckFailure, checked

Status = Literal["passed", "failed", "not run", "nothing to check"]


@dataclass(frozen=True)
class Check:
    """One sentence of the contract, made executable.

    Calling it with an adapter checks it: what a test does with each of `domain_checks()`.

    Attributes:
        name: what it is called in reports and by pytest.
        sentence: what holds when it passes.
        run: raises `CheckFailure` or `NothingToCheck`, or returns.
        needs: checks without which this one has nothing to stand on.
    """

    name: str
    sentence: str
    run: Callable[[Bench], None]
    needs: tuple["Check", ...] = ()

    @property
    def __name__(self) -> str:
        """The name that pytest gives a test with this parameter."""
        return self.name

    def __call__(
        self, adapter: type[DomainAdapter], config: Any = None, *, width: int = 32
    ) -> None:
        """Check an adapter class.

        Args:
            adapter: the class.
            config: an instance of its `Config`; None takes the defaults.
            width: channels of the core's state.

        Raises:
            CheckFailure: the sentence does not hold, or the adapter raised an error.
        """
        self.on(Bench(adapter, config, width))

    def on(self, bench: Bench) -> bool:
        """Check what stands on a bench; returns false where there was nothing to check.

        Raises:
            CheckFailure: the sentence does not hold, or the adapter raised an error.
        """
        with global_seed(0):
            return checked(
                self.name, lambda: self.run(bench), lambda error: _said(error, bench.adapter_class)
            )


def check(*needs: Check) -> Callable[[Callable[[Bench], None]], Check]:
    """Make a function of a `Bench` a check of that name, its docstring the sentence.

    Args:
        needs: checks that must have passed for this one to make sense.
    """

    def made(run: Callable[[Bench], None]) -> Check:
        return Check(run.__name__, " ".join((run.__doc__ or "").split()), run, needs)

    return made


@dataclass
class CheckResult:
    """What one check said.

    Attributes:
        check: the check.
        status: how it went.
        failure: what was found, where it failed.
        seconds: how long it took.
    """

    check: Check
    status: Status
    failure: CheckFailure | None = None
    seconds: float = 0.0


@dataclass
class CheckReport:
    """What all checks said.

    Attributes:
        adapter: name of the class.
        results: one for every check, in order.
    """

    adapter: str
    results: list[CheckResult] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> list[CheckFailure]:
        """What was found, check by check."""
        return [result.failure for result in self.results if result.failure is not None]

    def __str__(self) -> str:
        lines = [
            f"{self.adapter}: {len(self.failures)} of {len(self.results)} checks failed"
            if self.failures
            else f"{self.adapter}: all {len(self.results)} checks passed"
        ]
        lines += [f"- {failure}" for failure in self.failures]
        skipped = [result.check.name for result in self.results if result.status == "not run"]
        if skipped:
            lines.append(f"not run, because they need what failed: {', '.join(skipped)}")
        return "\n".join(lines)


class ContractError(UserError):
    """The adapter breaks the contract; `report` holds the answers of all checks."""

    def __init__(self, report: CheckReport) -> None:
        super().__init__(str(report))
        self.report = report


def run_checks(checks: Sequence[Check], bench: Bench) -> Iterator[CheckResult]:
    """Run checks one by one; a check whose needs were not met is not run."""
    unmet: set[str] = set()
    for one in checks:
        began = time.perf_counter()
        result = CheckResult(one, "passed")
        if any(need.name in unmet for need in one.needs):
            result.status = "not run"
        else:
            try:
                if not one.on(bench):
                    result.status = "nothing to check"
            except CheckFailure as failure:
                result.status, result.failure = "failed", failure
        if result.status in ("failed", "not run"):
            unmet.add(one.name)
        result.seconds = time.perf_counter() - began
        yield result


def _said(error: Exception, adapter_class: type) -> str:
    """An error as one line, with the innermost place in the code of the adapter's author."""
    own = takewhile(lambda kind: kind is not DomainAdapter, adapter_class.__mro__)
    files = [getattr(sys.modules.get(kind.__module__), "__file__", None) for kind in own]
    homes = tuple(str(Path(file).parent) for file in files if file is not None)
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if homes and frame.filename.startswith(homes)]
    place = f" at {Path(inside[-1].filename).name}:{inside[-1].lineno}" if inside else ""
    return f"{type(error).__name__}{place}: {' '.join(str(error).split())}"

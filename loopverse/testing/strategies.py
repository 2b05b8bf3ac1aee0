"""Checks of strategies, for everybody who writes a halting rule, a gradient or an injection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from loopverse.errors import UserError
from loopverse.testing.bench import global_seed
from loopverse.testing.failure import CheckFailure, checked

Strategy = TypeVar("Strategy")


@dataclass(frozen=True)
class StrategyCheck(Generic[Strategy]):
    """One sentence of what a strategy must keep, made executable: a callable for `pytest.mark.parametrize`.

    Attributes:
        name: what it is called in reports and by pytest.
        sentence: what holds when it passes.
        run: raises `CheckFailure` or `NothingToCheck`, or returns.
        needs: names of checks without which this one has nothing to stand on.
    """

    name: str
    sentence: str
    run: Callable[[Strategy], None]
    needs: tuple[str, ...] = ()

    @property
    def __name__(self) -> str:
        """The name that pytest gives a test with this parameter."""
        return self.name

    def __call__(self, strategy: Strategy) -> bool:
        """Check a strategy; false where there was nothing to check.

        Raises:
            CheckFailure: the sentence does not hold, or the strategy raised an error.
        """
        with global_seed(0):
            return checked(self.name, lambda: self.run(strategy), _said)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


class StrategyError(UserError):
    """A strategy does not keep what others rely on.

    Attributes:
        failures: what was found, check by check.
    """

    def __init__(self, strategy: object, failures: Sequence[CheckFailure], count: int) -> None:
        name = type(strategy).__name__
        lines = [
            f"{name}: {len(failures)} of {count} checks failed",
            *(f"- {one}" for one in failures),
        ]
        super().__init__("\n".join(lines))
        self.failures = list(failures)


def strategy_check(
    *needs: StrategyCheck[Strategy],
) -> Callable[[Callable[[Strategy], None]], StrategyCheck[Strategy]]:
    """Make a function a check of that name, its docstring the sentence.

    Args:
        needs: checks that must have passed for this one to make sense.
    """

    def made(run: Callable[[Strategy], None]) -> StrategyCheck[Strategy]:
        sentence = " ".join((run.__doc__ or "").split())
        return StrategyCheck(run.__name__, sentence, run, tuple(need.name for need in needs))

    return made


def checks_in(module: dict[str, object]) -> list[StrategyCheck]:
    """The checks of a module, in the order in which they stand there."""
    return [value for value in module.values() if isinstance(value, StrategyCheck)]


def failures_of(
    checks: Sequence[StrategyCheck[Strategy]], strategy: Strategy
) -> list[CheckFailure]:
    """What is found, check by check; a check whose needs were not met is not run."""
    failures: list[CheckFailure] = []
    unmet: set[str] = set()
    for one in checks:
        if unmet & set(one.needs):
            unmet.add(one.name)
            continue
        try:
            one(strategy)
        except CheckFailure as failure:
            failures.append(failure)
            unmet.add(one.name)
    return failures


def check_all(checks: Sequence[StrategyCheck[Strategy]], strategy: Strategy) -> None:
    """Run every check on a strategy.

    Raises:
        StrategyError: at least one failed; its message lists them.
    """
    failures = failures_of(checks, strategy)
    if failures:
        raise StrategyError(strategy, failures, len(checks))

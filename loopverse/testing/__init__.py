"""The contract of a domain as tests, for everybody who writes one.

As a whole, `check_domain(Parity)`; one by one, in a test file:

    @pytest.mark.parametrize("check", domain_checks())
    def test_parity_keeps_the_contract(check: Check) -> None:
        check(Parity, ParityConfig(length=6))

On the command line, `loopverse check parity`.
"""

from collections.abc import Sequence
from typing import Any

from loopverse.domain import DomainAdapter
from loopverse.registry import load_domain
from loopverse.testing import data, declaration, leakage, learning, prediction, use
from loopverse.testing.bench import Bench
from loopverse.testing.checking import (
    Check,
    CheckReport,
    CheckResult,
    ContractError,
    run_checks,
)
from loopverse.testing.failure import CheckFailure, NothingToCheck
from loopverse.testing.gradients import check_gradient, gradient_checks
from loopverse.testing.halting import check_halting, halting_checks
from loopverse.testing.injections import check_injection, injection_checks
from loopverse.testing.strategies import StrategyCheck, StrategyError

__all__ = [
    "Bench",
    "Check",
    "CheckFailure",
    "CheckReport",
    "CheckResult",
    "ContractError",
    "NothingToCheck",
    "StrategyCheck",
    "StrategyError",
    "check_domain",
    "check_gradient",
    "check_halting",
    "check_injection",
    "domain_checks",
    "gradient_checks",
    "halting_checks",
    "injection_checks",
    "run_checks",
]


def domain_checks() -> list[Check]:
    """Every check of a domain, in the order in which they build on each other.

    Made for `pytest.mark.parametrize`: each is a callable that takes the adapter class.
    """
    found = (
        value
        for module in (declaration, data, prediction, leakage, learning, use)
        for value in vars(module).values()
        if isinstance(value, Check)
    )
    return list({check.name: check for check in found}.values())


def check_domain(
    adapter: type[DomainAdapter] | str,
    config: Any = None,
    *,
    width: int = 32,
    prompts: Sequence[str] = ("", ""),
) -> CheckReport:
    """Check a domain against the whole contract, on a small core, on the CPU, in seconds.

    Args:
        adapter: the class, or the name of an installed domain.
        config: an instance of its `Config`; None takes the defaults. Small data, quick checks.
        width: channels of the core's state.
        prompts: what to continue when sampling.

    Returns:
        What every check said, all being well; print it to see that in words.

    Raises:
        ContractError: at least one check failed; its message lists them, its `report` holds all.
        ValueError: no installed domain has this name.
    """
    kind = load_domain(adapter) if isinstance(adapter, str) else adapter
    results = list(run_checks(domain_checks(), Bench(kind, config, width, list(prompts))))
    report = CheckReport(getattr(kind, "__name__", repr(kind)), results)
    if not report.passed:
        raise ContractError(report)
    return report

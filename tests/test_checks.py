"""Every check of a domain finds the mistake planted for it, says so in its words, and finds no other."""

import random
from dataclasses import replace

import broken
import numpy as np
import pytest
import torch
import toy
from broken import BROKEN, Broken
from tensordict import TensorDict
from walk import Walk, WalkConfig

from loopverse import CoreInput, DomainAdapter, Outcome, Think, registry
from loopverse.errors import UserError
from loopverse.testing import (
    Bench,
    Check,
    CheckFailure,
    ContractError,
    check_domain,
    domain_checks,
    run_checks,
)

CHECKS = {check.name: check for check in domain_checks()}
MARKS = {"passed": ".", "failed": "X", "not run": " ", "nothing to check": "-"}


class ConditionedWalk(Walk):
    """Reads the first place as a condition too."""

    def embed(self, batch: TensorDict) -> CoreInput:
        return replace(super().embed(batch), cond=self.read(batch["seen"][:, 0]))

    sample = DomainAdapter.sample


class WalkThoughtTwice(Walk):
    """Goes on from the state of a first call."""

    def forward(self, think: Think, batch: TensorDict) -> Outcome:
        first = think(self.embed(batch))
        second = think(self.embed(batch), carry=first.z, outer=1.0)
        return second.weigh([self.loss(self.predict(z), batch) for z in second.readouts])


@pytest.mark.parametrize("check", domain_checks())
def test_a_good_adapter_passes(check: Check) -> None:
    assert check.on(Bench(Walk)), "the good adapter must have something to check for every check"


@pytest.mark.parametrize("adapter", [ConditionedWalk, WalkThoughtTwice])
def test_conditions_and_a_forward_of_its_own_are_no_mistakes(adapter: type[Walk]) -> None:
    assert check_domain(adapter).passed


@pytest.mark.parametrize("planted", BROKEN, ids=lambda planted: planted.adapter.__name__)
def test_a_planted_mistake_is_found_in_the_words_that_help(planted: Broken) -> None:
    with pytest.raises(CheckFailure) as raised:
        CHECKS[planted.check](planted.adapter)
    for words in planted.words:
        assert words in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("planted", BROKEN, ids=lambda planted: planted.adapter.__name__)
def test_a_planted_mistake_is_found_by_its_check_alone(planted: Broken) -> None:
    results = list(run_checks(domain_checks(), Bench(planted.adapter)))
    row = "".join(MARKS[result.status] for result in results)
    print(f"{planted.adapter.__name__:36} {row}")  # with `-rP`, a matrix: mistakes by checks
    assert [result.check.name for result in results if result.failure] == [planted.check]


def test_every_check_has_a_planted_mistake() -> None:
    assert {check.name for check in domain_checks()} == {planted.check for planted in BROKEN}


def test_every_check_is_a_sentence() -> None:
    for check in domain_checks():
        assert check.sentence.endswith("."), check.name


def test_a_check_is_a_pytest_parameter_that_raises_its_failure() -> None:
    check = CHECKS["train_never_ends"]
    check(Walk, WalkConfig(length=6), width=16)
    with pytest.raises(CheckFailure, match="^train_never_ends: expected .*, got .*: .*"):
        check(broken.data.OneEpoch)


def test_check_domain_reports_everything_that_fails_and_what_was_not_run() -> None:
    class Twice(Walk):
        metric = "nats per step"

        def predict(self, z: torch.Tensor) -> torch.Tensor:
            return self.write(z)

    with pytest.raises(ContractError) as raised:
        check_domain(Twice)
    report = raised.value.report
    assert [failure.check for failure in report.failures] == [
        "metric_is_declared_and_lower_is_better",
        "predict_returns_a_distribution_per_unit",
    ]
    lines = str(raised.value).splitlines()
    assert lines[0].startswith(f"{Twice.__name__}: 2 of {len(domain_checks())} checks failed")
    assert lines[-1].startswith("not run, because they need what failed: loss_is_one_finite")


def test_check_domain_finds_an_installed_domain_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("loopverse.testing.load_domain", {"walk": Walk}.__getitem__)
    report = check_domain("walk", WalkConfig(length=6), prompts=["a", "bcd"])
    assert report.passed
    assert str(report) == f"Walk: all {len(domain_checks())} checks passed"


def test_check_domain_suggests_the_name_that_was_meant() -> None:
    name = next(iter(registry.domain_entry_points()))
    with pytest.raises(UserError, match=f"did you mean '{name}'"):
        check_domain(name[:-1])


def test_checking_leaves_the_global_generators_as_they_were() -> None:
    def states() -> tuple[object, ...]:
        numpy = np.random.get_state()[1].tolist()  # noqa: NPY002 - it is this one
        return random.getstate(), numpy, torch.get_rng_state().tolist()

    before = states()
    for check in domain_checks():
        check(Walk, WalkConfig(length=6))
        assert states() == before, check.name


def test_repeating_what_was_read_is_no_leak() -> None:
    CHECKS["predictions_do_not_read_their_targets"](toy.Toy)

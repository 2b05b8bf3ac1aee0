"""Verdicts claim what the intervals allow, and no more."""

import math

from analysis.test_depths import table

from loopverse.analysis.verdicts import verdicts


def test_a_sure_gain_is_named_with_its_interval() -> None:
    (said,) = verdicts(table({1: [2.0, 2.1, 2.2], 4: [1.5, 1.61, 1.7]}))
    assert said.startswith("4 loops instead of 1 loop bought 0.50 nats (95 % interval 0.48")


def test_loops_that_cost_are_said_to_cost() -> None:
    found = verdicts(table({4: [1.5, 1.6, 1.7], 8: [2.0, 2.11, 2.2]}))
    assert found == ["8 loops instead of 4 loops cost 0.50 nats (95 % interval 0.4890 to 0.5177)."]


def test_a_tie_gives_no_verdict() -> None:
    found = verdicts(table({1: [2.0, 2.1, 2.2], 4: [2.1, 2.0, 2.2], 8: [2.1, 2.0, 2.2]}))
    assert len(found) == 2
    assert all("no clear difference" in said for said in found)


def test_one_batch_gives_no_interval_and_says_so() -> None:
    (said,) = verdicts(table({1: [2.0], 4: [1.5]}))
    assert said == (
        "With 4 loops it is 0.50 nats lower than with 1 loop; one batch alone gives no interval."
    )


def test_depths_that_blow_up_are_named() -> None:
    (said,) = verdicts(table({4: [2.0, 2.0], 8: [math.inf, math.nan]}))
    assert said == "With 8 loops the result is not a finite number."


def test_a_single_depth_says_nothing() -> None:
    assert verdicts(table({4: [2.0, 2.0]})) == []
